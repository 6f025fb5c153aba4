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

/** `serverFingerprint` and what follows from it are about servers that no file names a key of, as in `connect`. */
export interface RotateClientOptions
  extends Pick<ConnectOptions, "serverFingerprint" | "confirmServer" | "rememberServer"> {
  certsDir: string;
  /** Who is to be told. Default: everybody in `known-servers.json`. */
  servers?: readonly ServerAddress[];
  /** For each connection and each request. */
  timeoutMs?: number;
}

/** How far it came with one server. */
export interface RotatedServer {
  /** `host:port`. */
  readonly server: string;
  /** The new key is accepted there; once it is confirmed, only the new one is. */
  readonly state: "failed" | "announced" | "confirmed";
  readonly error?: VeripyError;
  /** The file into which `rememberServer` has written the server's key. */
  readonly rememberedIn?: string;
}

export interface ClientRotation {
  /** The key that the client had; undefined when this only finished an earlier rotation. */
  readonly old: Fingerprint | undefined;
  readonly new: Fingerprint;
  /** Whether the new key is in use now. False: some server does not accept it yet, and nothing has changed here. */
  readonly done: boolean;
  readonly servers: readonly RotatedServer[];
  /** Known servers that nobody asked to tell, which go on to accept the old key alone. */
  readonly leftOut: readonly string[];
}

/**
 * Changes this client's key: makes a new one, announces it to the servers, signed by the old one, and when all of
 * them accept it, puts it in the old one's place and connects with it, which ends their trust in the old one. At
 * whatever point this is stopped, the key in use is accepted by every server; doing it again goes on from there.
 * Throws `bad_config` when there is no server to tell.
 */
export async function rotateClientKey(options: RotateClientOptions): Promise<ClientRotation> {
  const { certsDir } = options;
  const known = await listKnownServers(certsDir);
  const servers = options.servers ?? known;
  if (servers.length === 0) {
    throw new VeripyError(
      "bad_config",
      `Nobody is there to be told of a new key: ${certsDir} has no known-servers.json. Name the server with --host and --port.`,
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
    // Somebody may have trusted the new key there by hand, for a server that takes no announcements.
    const isAccepted =
      reason.code !== "unreachable" && (await isLetIn(server, next, withoutQuestions(options)));
    return isAccepted
      ? { server: name, state: "announced" }
      : { server: name, state: "failed", error: reason };
  }
}

/** The first answer to the new key: the server trusts it in the place of the old one from then on. */
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

/** Each is asked once for a server; the answer of yes is in a file by then. */
function withoutQuestions({ confirmServer, rememberServer, ...options }: RotateClientOptions) {
  return options;
}

/**
 * Connects, syncs, which shows that the key is accepted, and disconnects. Resolves with the file that the server's key
 * was written into, if it was.
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
    // It is over long before.
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

/** A server of the plain protocol is sent nothing that it does not know; its lists have no trees. */
function mustKnowRotation({ modules }: SyncResponse): void {
  if (modules.length === 0 || modules.some(({ tree }) => tree !== undefined)) return;
  throw new VeripyError(
    "unsupported",
    "This server knows only the plain form of the protocol, which has no rotation of keys. Have the new key trusted there by hand first.",
  );
}

function timeoutOf({ timeoutMs = 10_000 }: RotateClientOptions): { timeoutMs: number } {
  return { timeoutMs };
}

function asVeripyError(error: unknown): VeripyError {
  return error instanceof VeripyError ? error : new VeripyError("unreachable", messageOf(error));
}
