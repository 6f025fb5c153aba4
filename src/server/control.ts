import type { z } from "zod";
import { isSystemError, messageOf, VeripyError } from "../base/errors.ts";
import { Channel } from "../protocol/channel.ts";
import { parseAnswer } from "../protocol/messages.ts";
import { SocketDuplex } from "../protocol/socket-duplex.ts";
import { closeReasonOf } from "../tls/socket-peer.ts";
import {
  type ConnectionRecord,
  connectionsResponse,
  controlPath,
  type DisconnectedKey,
  disconnectResponse,
  maxAnswerBytes,
  maxControlPathBytes,
  maxRequestBytes,
  type RetiredVersions,
  retireResponse,
} from "./control-messages.ts";

const timeoutMs = 10_000;

/** The clients connected to the server that runs with this folder of keys; undefined when no server does. */
export async function listConnections(certsDir: string): Promise<ConnectionRecord[] | undefined> {
  const answer = await askServer(certsDir, "connections", {}, connectionsResponse);
  return answer?.connections;
}

/**
 * Makes the server that runs with this folder of keys close all connections of a key, given by its fingerprint or its
 * name. The key stays trusted. Throws `bad_config` when the key has no connection, and when no server is running.
 */
export async function disconnectKey(certsDir: string, who: string): Promise<DisconnectedKey> {
  const answer = await askServer(certsDir, "disconnect", { who }, disconnectResponse);
  if (answer !== undefined) return answer;
  throw new VeripyError(
    "bad_config",
    `Cannot disconnect '${who}': no server is running with the keys in ${certsDir}, or it has no control socket there.`,
  );
}

/**
 * Makes the server that runs with this folder of keys end earlier versions of a module: all of them, or the one whose tree
 * begins with `tree` (8 to 64 hexadecimal digits). Throws `bad_config` when there is none, when it is the current one, and
 * when no server is running.
 */
export async function retireVersions(certsDir: string, mod: string, tree?: string): Promise<RetiredVersions> {
  const answer = await askServer(certsDir, "retire", { mod, tree }, retireResponse);
  if (answer !== undefined) return answer;
  throw new VeripyError(
    "bad_config",
    `Cannot retire versions of '${mod}': no server is running with the keys in ${certsDir}, or it has no control socket there.`,
  );
}

/** Undefined when no server listens there. */
async function askServer<T>(
  certsDir: string,
  type: string,
  request: object,
  schema: z.ZodType<T>,
): Promise<T | undefined> {
  const path = controlPath(certsDir);
  const channel = await connectTo(path);
  if (channel === undefined) return undefined;
  try {
    const { json } = await channel.request("control", type, JSON.stringify(request), { timeoutMs });
    return parseAnswer(schema, json);
  } catch (error) {
    // What the server refuses is what the user typed.
    if (error instanceof VeripyError && error.code === "bad_request") {
      throw new VeripyError("bad_config", error.message, { cause: error });
    }
    throw error;
  } finally {
    channel.close();
  }
}

async function connectTo(path: string): Promise<Channel | undefined> {
  if (process.platform === "win32" || Buffer.byteLength(path) > maxControlPathBytes) return undefined;
  try {
    const socket = await Bun.connect<{ duplex?: SocketDuplex }>({
      unix: path,
      data: {},
      socket: {
        data: ({ data }, chunk) => data.duplex?.received(chunk),
        drain: ({ data }) => data.duplex?.writable(),
        close: ({ data }, error) => data.duplex?.ended(closeReasonOf(error)),
      },
    });
    const duplex = new SocketDuplex(socket, { maxQueuedBytes: maxRequestBytes });
    socket.data.duplex = duplex;
    return new Channel(duplex, { maxLineBytes: maxAnswerBytes, onFrame: () => {}, onClosed: () => {} });
  } catch (error) {
    if (isSystemError(error, "ECONNREFUSED", "ENOENT", "ENOTDIR")) return undefined;
    const whose = isSystemError(error, "EACCES") ? " Only the server's own user and root can." : "";
    throw new VeripyError(
      "bad_config",
      `Cannot reach the server through ${path}: ${messageOf(error)}.${whose}`,
      {
        cause: error,
      },
    );
  }
}
