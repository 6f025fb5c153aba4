/**
 * Every limit on what others may send, request or hold. Sizes are in bytes and times in milliseconds. 0 turns a limit
 * off only if its comment says so.
 */
export interface Limits {
  // A connection.
  /** From accepting the TCP connection to the end of the TLS handshake. */
  handshakeMs: number;
  /** From the end of the handshake to the first complete request. */
  firstRequestMs: number;
  /** Time without receiving a byte. An idle peer is pinged after half of it, and the pong counts. */
  idleMs: number;
  /** One line received by the server, without its newline. A longer line closes the connection. */
  maxLineBytes: number;
  /** One line received by the client. Answers contain whole module trees, JSON-escaped. */
  maxAnswerLineBytes: number;
  /** Requests of one connection in progress. At the limit the server stops reading; nothing is dropped. */
  maxRequestsInFlight: number;
  /** Output queued for a peer that does not read. Beyond it the connection is closed. */
  maxQueuedBytes: number;
  /** Authenticated connections in total. */
  maxConnections: number;
  /** Authenticated connections of one key. */
  maxConnectionsPerKey: number;
  /** Unfinished handshakes in total. Beyond it the address with the most loses its oldest one. */
  maxHandshakes: number;
  /** Unfinished handshakes from one address. Many clients may share it and reconnect at the same moment. */
  maxHandshakesPerAddress: number;
  /** Handshakes from one address: the sustained rate, and how many may come at once. */
  handshakesPerSecond: number;
  handshakeBurst: number;
  /** Announcements of a next key, valid or not, by one key and the keys it announced. 0 allows none. */
  rotationsPerMinute: number;
  /** How long running calls may take when the server stops. */
  shutdownMs: number;

  // A module as files.
  maxFileBytes: number;
  maxTreeBytes: number;
  maxTreeFiles: number;
  maxModules: number;

  // A module as a process.
  /** From the start of a module's process to its `ready`. */
  loadMs: number;
  /** The longest one call may take. A request may ask for less. */
  execMs: number;
  /** From a call's abort signal to the end of its process. */
  killGraceMs: number;
  /** Calls of one module in progress, and how many more may wait. Beyond that the answer is `busy`. */
  maxCallsInFlight: number;
  maxCallsQueued: number;
  /** Arguments of the waiting calls of one module, in total. Beyond that the answer is `busy`. */
  maxQueuedArgsBytes: number;
  /** UTF-8 bytes of one result and of one streamed part. */
  maxResultBytes: number;
  maxPartBytes: number;
  /** Resident memory of one module's process, which is killed beyond it. 0 means no limit. */
  maxModuleMemoryBytes: number;
  /** Log lines of one module per second. The rest are counted and dropped. */
  maxLogLinesPerSecond: number;
  /** Versions of one module kept beside the current one, as bytes. */
  retain: number;
  /** Sources of the kept versions of all modules. Beyond it those replaced first are no longer kept. */
  maxRetainedBytes: number;
  /** How long running calls of a replaced version may take. */
  drainMs: number;
  /** A module's process without a call for this long is stopped; the next call starts it again. 0 means never. */
  idleStopMs: number;
  /** Processes of all modules that stay when they have no call. Beyond it the least recently used end. */
  resident: number;
}

const KiB = 1024;
const MiB = 1024 * KiB;

export const defaultLimits: Readonly<Limits> = Object.freeze({
  handshakeMs: 10_000,
  firstRequestMs: 30_000,
  idleMs: 600_000,
  maxLineBytes: 1 * MiB,
  maxAnswerLineBytes: 64 * MiB,
  maxRequestsInFlight: 64,
  maxQueuedBytes: 8 * MiB,
  maxConnections: 10_000,
  maxConnectionsPerKey: 256,
  maxHandshakes: 500,
  maxHandshakesPerAddress: 400,
  handshakesPerSecond: 100,
  handshakeBurst: 400,
  rotationsPerMinute: 10,
  shutdownMs: 10_000,

  maxFileBytes: 1 * MiB,
  maxTreeBytes: 8 * MiB,
  maxTreeFiles: 256,
  maxModules: 10_000,

  loadMs: 10_000,
  execMs: 30_000,
  killGraceMs: 1_000,
  maxCallsInFlight: 256,
  maxCallsQueued: 1_024,
  maxQueuedArgsBytes: 32 * MiB,
  maxResultBytes: 1 * MiB,
  maxPartBytes: 256 * KiB,
  maxModuleMemoryBytes: 512 * MiB,
  maxLogLinesPerSecond: 100,
  retain: 8,
  maxRetainedBytes: 64 * MiB,
  drainMs: 30_000,
  idleStopMs: 0,
  resident: 64,
});

/** The defaults, with some fields replaced. A field that is `undefined` keeps its default. */
export function withDefaultLimits(overrides: Partial<Limits> = {}): Readonly<Limits> {
  const limits = { ...defaultLimits };
  for (const [name, value] of Object.entries(overrides)) {
    if (value !== undefined) limits[name as keyof Limits] = value;
  }
  return Object.freeze(limits);
}
