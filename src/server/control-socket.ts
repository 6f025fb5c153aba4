import { lstat, unlink } from "node:fs/promises";
import { isSystemError, messageOf, VeripyError } from "../base/errors.ts";
import { withFileLock } from "../base/file-lock.ts";
import { loggerOf } from "../base/log.ts";
import { Channel } from "../protocol/channel.ts";
import type { Frame } from "../protocol/frame.ts";
import { emptyPayload, errorPayload, parsePayload } from "../protocol/messages.ts";
import { SocketDuplex } from "../protocol/socket-duplex.ts";
import { closeReasonOf } from "../tls/socket-peer.ts";
import {
  type ConnectionRecord,
  controlPath,
  type DisconnectedKey,
  disconnectRequest,
  maxAnswerBytes,
  maxControlPathBytes,
  maxRequestBytes,
  type RetiredVersions,
  retireRequest,
} from "./control-messages.ts";

const log = loggerOf("server");
/** Commands at once. Each sends one request and disconnects. */
const maxCommands = 16;
const commandMs = 10_000;

/** What commands may ask of a running server. */
export interface ControlledServer {
  connections(): ConnectionRecord[];
  /** Throws `bad_config` for a name or a key that is not connected. */
  disconnect(who: string): DisconnectedKey;
  /** Throws `bad_config` for what is no kept version. */
  retire(mod: string, tree: string | undefined): RetiredVersions;
}

/**
 * Takes requests from commands on this machine through a Unix socket in the folder of the keys. Only the server's own user
 * and root can open it. It is removed when the server stops; one that a killed server left behind is replaced.
 */
export class ControlSocket {
  readonly #server: ControlledServer;
  readonly #commands = new Set<Command>();
  #listener: Bun.UnixSocketListener<Command> | undefined;

  private constructor(server: ControlledServer) {
    this.#server = server;
  }

  /** The server can do without it, so when it cannot be opened, a warning is logged and undefined is returned. */
  static async open(certsDir: string, server: ControlledServer): Promise<ControlSocket | undefined> {
    // Bun has no Unix sockets on Windows.
    if (process.platform === "win32") return undefined;
    const path = controlPath(certsDir);
    const socket = new ControlSocket(server);
    try {
      if (Buffer.byteLength(path) > maxControlPathBytes) {
        throw new VeripyError(
          "bad_config",
          `the path is longer than ${maxControlPathBytes} bytes, the limit for a socket. Give --certs a shorter or a relative path`,
        );
      }
      await withFileLock(path, async () => {
        await removeStale(path);
        socket.#listen(path);
      });
      return socket;
    } catch (error) {
      log.warn(
        "Cannot open {path}, so 'veripy-server keys' cannot tell who is connected, and 'disconnect' and 'retire' do not work: {why}",
        { path, why: messageOf(error) },
      );
      return undefined;
    }
  }

  /** Idempotent. */
  close(): void {
    // This also removes the socket's file.
    this.#listener?.stop();
    this.#listener = undefined;
    for (const command of this.#commands) command.channel.close();
  }

  #listen(path: string): void {
    // The umask sets the mode in the same step. With a later chmod, others could connect in between.
    const umask = process.umask(0o177);
    try {
      this.#listener = Bun.listen<Command>({
        unix: path,
        socket: {
          open: (socket) => this.#opened(socket),
          data: (socket, chunk) => socket.data?.duplex.received(chunk),
          drain: (socket) => socket.data?.duplex.writable(),
          close: (socket, error) => socket.data?.duplex.ended(closeReasonOf(error)),
        },
      });
    } finally {
      process.umask(umask);
    }
  }

  #opened(socket: Bun.Socket<Command>): void {
    if (this.#commands.size >= maxCommands) {
      socket.terminate();
      return;
    }
    const duplex = new SocketDuplex(socket, { maxQueuedBytes: maxAnswerBytes });
    const channel = new Channel(duplex, {
      maxLineBytes: maxRequestBytes,
      onFrame: ({ type, ref, json }) =>
        channel.send("control", `${type}_resp`, ref, this.#answer(type, json)),
      onClosed: () => {
        clearTimeout(deadline);
        this.#commands.delete(command);
      },
    });
    const deadline = setTimeout(() => channel.close(), commandMs);
    const command = { duplex, channel };
    this.#commands.add(command);
    socket.data = command;
  }

  #answer(type: Frame["type"], json: string): string {
    try {
      switch (type) {
        case "connections":
          parsePayload(emptyPayload, json);
          return JSON.stringify({ connections: this.#server.connections() });
        case "disconnect":
          return JSON.stringify(this.#server.disconnect(parsePayload(disconnectRequest, json).who));
        case "retire": {
          const { mod, tree } = parsePayload(retireRequest, json);
          return JSON.stringify(this.#server.retire(mod, tree));
        }
        default:
          return errorPayload(
            "bad_request",
            `This server knows no request '${type}'. Its version differs from that of the command.`,
          );
      }
    } catch (error) {
      return errorPayload("bad_request", messageOf(error));
    }
  }
}

interface Command {
  readonly duplex: SocketDuplex;
  readonly channel: Channel;
}

/** Removes a socket that no server listens on. Throws when one does, and when the file is not a socket. */
async function removeStale(path: string): Promise<void> {
  const status = await lstat(path).catch((error: unknown) => {
    if (isSystemError(error, "ENOENT")) return undefined;
    throw error;
  });
  if (status === undefined) return;
  if (!status.isSocket()) throw new VeripyError("bad_config", "the file there is not a socket.");
  if (await isAnswered(path))
    throw new VeripyError("bad_config", "another server is running with this folder.");
  await unlink(path);
}

async function isAnswered(path: string): Promise<boolean> {
  try {
    const socket = await Bun.connect({ unix: path, socket: { data: () => {} } });
    socket.terminate();
    return true;
  } catch (error) {
    if (isSystemError(error, "ECONNREFUSED", "ENOENT")) return false;
    throw error;
  }
}
