import { messageOf, VeripyError } from "../base/errors.ts";
import { defaultLimits } from "../base/limits.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import type { Identity } from "../identity/identity.ts";
import { prepareNextIdentity, resumeSwap, swapIdentity } from "../identity/next-identity.ts";
import { signRotation } from "../identity/rotation-statement.ts";
import { parseAnswer, rotateResponse, type SyncResponse, syncResponse } from "../protocol/messages.ts";
import { serverName } from "../trust/known-servers.ts";
import { listKnownServers } from "../trust/server-pins.ts";
import type { ConnectOptions } from "./connect-options.ts";
import { resolveTarget } from "./connect-target.ts";
import { Connection } from "./connection.ts";
import { dial } from "./dial.ts";
import { rememberServer } from "./remember-server.ts";

export interface ServerAddress {
  readonly host: string;
  readonly port: number;
}

/** The options of `connect` apply to servers for which no file names a key. */
export interface RotateClientOptions
  extends Pick<ConnectOptions, "serverFingerprint" | "confirmServer" | "rememberServer"> {
  certsDir: string;
  /** The servers that the new key is announced to. Default: all in `known-servers.json`. */
  servers?: readonly ServerAddress[];
  /** For each connection and each request. Default 10 s. */
  timeoutMs?: number;
}

/** How far the rotation got with one server. */
export interface RotatedServer {
  /** `host:port`. */
  readonly server: string;
  /** `announced`: the new key is accepted beside the old one. `confirmed`: only the new key is accepted. */
  readonly state: "failed" | "announced" | "confirmed";
  readonly error?: VeripyError;
  /** The file to which `rememberServer` wrote the server's key. */
  readonly rememberedIn?: string;
}

export interface ClientRotation {
  /** The client's previous key; undefined when this only finished an earlier rotation. */
  readonly old: Fingerprint | undefined;
  readonly new: Fingerprint;
  /** Whether the new key is in use. False: a server does not accept it yet, and the old key stays in use. */
  readonly done: boolean;
  readonly servers: readonly RotatedServer[];
  /** Known servers that were not among `servers`. They still accept only the old key. */
  readonly leftOut: readonly string[];
}

/**
 * Rotates this client's key: creates a new one and announces it to the servers, signed by the old one. When all of them
 * accept it, it replaces the old key and is used to connect, which ends the servers' trust in the old key. Wherever this is
 * interrupted, the key in use is accepted by every server, and calling it again continues from there. Throws `bad_config`
 * when there is no server to announce it to.
 */
export async function rotateClientKey(options: RotateClientOptions): Promise<ClientRotation> {
  const { certsDir } = options;
  const known = await listKnownServers(certsDir);
  const servers = options.servers ?? known;
  if (servers.length === 0) {
    throw new VeripyError(
      "bad_config",
      `There is no server to announce a new key to: ${certsDir} has no known-servers.json. Name the server with --host and --port.`,
    );
  }
  const names = servers.map(({ host, port }) => serverName(host, port));
  const leftOut = known
    .map(({ host, port }) => serverName(host, port))
    .filter((name) => !names.includes(name));

  const resumed = await resumeSwap(certsDir, "client");
  if (resumed !== undefined) {
    const confirmed = await Promise.all(servers.map((server) => confirm(server, resumed, options)));
    return { old: undefined, new: resumed.fingerprint, done: true, servers: confirmed, leftOut };
  }
  const { current, next } = await prepareNextIdentity(certsDir, "client");
  const result = { old: current.fingerprint, new: next.fingerprint, leftOut };
  const announced = await Promise.all(servers.map((server) => announce(server, current, next, options)));
  if (announced.some(({ state }) => state === "failed")) {
    return { ...result, done: false, servers: announced };
  }
  const swapped = await swapIdentity(certsDir, "client");
  const confirmed = await Promise.all(
    servers.map(async (server, index) => ({
      ...announced[index],
      ...(await confirm(server, swapped, withoutQuestions(options))),
    })),
  );
  return { ...result, done: true, servers: confirmed };
}

async function announce(
  server: ServerAddress,
  current: Identity,
  next: Identity,
  options: RotateClientOptions,
): Promise<RotatedServer> {
  const name = serverName(server.host, server.port);
  try {
    const rememberedIn = await connected(server, current, options, async (connection, sync) => {
      mustKnowRotation(sync);
      const statement = JSON.stringify(signRotation(current.keyPem, next.keyPem));
      const frame = await connection.channel.request("sys", "rotate", statement, timeoutOf(options));
      parseAnswer(rotateResponse, frame.json);
    });
    return { server: name, state: "announced", ...rememberedIn };
  } catch (error) {
    const reason = asVeripyError(error);
    // The operator of a server that takes no announcements may have trusted the new key there by hand.
    const isAccepted =
      reason.code !== "unreachable" && (await isLetIn(server, next, withoutQuestions(options)));
    return isAccepted
      ? { server: name, state: "announced" }
      : { server: name, state: "failed", error: reason };
  }
}

/** Connects with the new key. From its first answer on, the server trusts that key in place of the old one. */
async function confirm(
  server: ServerAddress,
  identity: Identity,
  options: RotateClientOptions,
): Promise<RotatedServer> {
  const name = serverName(server.host, server.port);
  try {
    const rememberedIn = await connected(server, identity, options);
    return { server: name, state: "confirmed", ...rememberedIn };
  } catch (error) {
    return { server: name, state: "announced", error: asVeripyError(error) };
  }
}

async function isLetIn(
  server: ServerAddress,
  identity: Identity,
  options: RotateClientOptions,
): Promise<boolean> {
  return connected(server, identity, options).then(
    () => true,
    () => false,
  );
}

/** Each question is asked once for a server. A yes has been written to a file by then. */
function withoutQuestions({ confirmServer, rememberServer, ...options }: RotateClientOptions) {
  return options;
}

/**
 * Connects and syncs, which shows that the server accepts the key, and disconnects after `use`. Resolves with the file to
 * which the server's key was written, if it was.
 */
async function connected(
  { host, port }: ServerAddress,
  identity: Identity,
  { servers: _, rememberServer: remember = false, timeoutMs = 10_000, ...options }: RotateClientOptions,
  use?: (connection: Connection, sync: SyncResponse) => Promise<void>,
): Promise<{ rememberedIn?: string }> {
  const target = await resolveTarget({ ...options, host, port, identity });
  const peer = await dial(target, timeoutMs, new AbortController().signal);
  const connection = new Connection(peer, {
    limits: defaultLimits,
    fingerprint: identity.fingerprint,
    // The connection ends long before a ping is due.
    keepaliveMs: timeoutMs,
    pongMs: timeoutMs,
    onNews: () => {},
    onRotation: () => {},
    onClosed: () => {},
  });
  try {
    const frame = await connection.channel.request("mod", "sync", "{}", { timeoutMs });
    const sync = parseAnswer(syncResponse, frame.json);
    // Before anything changes: the key may turn out not to be kept.
    const rememberedIn = await rememberServer(target, remember);
    await use?.(connection, sync);
    return rememberedIn === undefined ? {} : { rememberedIn };
  } finally {
    connection.close();
  }
}

/** A server of the plain protocol, whose lists have no trees, must not be sent messages that it does not know. */
function mustKnowRotation({ modules }: SyncResponse): void {
  if (modules.length === 0 || modules.some(({ tree }) => tree !== undefined)) return;
  throw new VeripyError(
    "unsupported",
    "This server speaks only the plain form of the protocol, which has no key rotation. Have the new key trusted there by hand first.",
  );
}

function timeoutOf({ timeoutMs = 10_000 }: RotateClientOptions): { timeoutMs: number } {
  return { timeoutMs };
}

function asVeripyError(error: unknown): VeripyError {
  return error instanceof VeripyError ? error : new VeripyError("unreachable", messageOf(error));
}
