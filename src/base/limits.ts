/**
 * Every bound that VeriPy sets on what others send, ask for or hold. Sizes are bytes, times are
 * milliseconds, counts are counts; 0 switches a limit off only where its comment says so.
 */
export interface Limits {
  // A connection, before and after it is authenticated.
  /** From TCP accept to a finished TLS handshake. */
  handshakeMs: number;
  /** From a finished handshake to the first complete request. */
  firstRequestMs: number;
  /** Without one received byte; an idle peer is pinged at half of it, and a pong counts as a byte. */
  idleMs: number;
  /** One received line, newline excluded, on the server. Longer: the connection is closed with a reason. */
  maxLineBytes: number;
  /** One received line on the client. Answers carry whole module trees, JSON-escaped. */
  maxAnswerLineBytes: number;
  /** Requests of one connection being worked on. At the limit reading pauses; nothing is dropped. */
  maxRequestsInFlight: number;
  /** Output waiting for a peer that does not read. Past it the peer is closed. */
  maxQueuedBytes: number;
  /** Authenticated connections in all. */
  maxConnections: number;
  /** Authenticated connections of one key. */
  maxConnectionsPerKey: number;
  /** Connections that have not finished their handshake, in all. Past it the address with most loses its oldest. */
  maxHandshakes: number;
  /** The same from one address. Many clients may share one, and come back to it in the same moment. */
  maxHandshakesPerAddress: number;
  /** Handshakes from one address: sustained rate a second, and how many may come at once. */
  handshakesPerSecond: number;
  handshakeBurst: number;
  /** Announcements of a next key by one key, and those that it has announced; good or not. 0: none. */
  rotationsPerMinute: number;
  /** Calls in flight are given this long when the server stops. */
  shutdownMs: number;

  // A module as files.
  maxFileBytes: number;
  maxTreeBytes: number;
  maxTreeFiles: number;
  maxModules: number;

  // A module as a process.
  /** From starting a module host to its `ready`. */
  loadMs: number;
  /** The ceiling on one call; a request may ask for less. */
  execMs: number;
  /** Between a call's abort signal and the end of its process. */
  killGraceMs: number;
  /** Calls of one module being worked on, and how many more may wait; beyond that: `busy`. */
  maxCallsInFlight: number;
  maxCallsQueued: number;
  /** Arguments of the waiting calls of one module, in all; beyond that: `busy`. */
  maxQueuedArgsBytes: number;
  /** UTF-8 bytes of one result, and of one streamed part. */
  maxResultBytes: number;
  maxPartBytes: number;
  /** Resident memory of one module host; over it the host is killed. 0: no limit. */
  maxModuleMemoryBytes: number;
  /** Log lines of one module a second; the rest are counted and dropped. */
  maxLogLinesPerSecond: number;
  /** Versions kept beside the current one. */
  retain: number;
  /** A replaced version's calls in flight are given this long. */
  drainMs: number;
  /** A host without a call for this long is stopped; the next call starts it again. 0: never. */
  idleStopMs: number;
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
  retain: 1,
  drainMs: 30_000,
  idleStopMs: 0,
});

/** The defaults with some fields replaced; `undefined` fields keep their default. */
export function withDefaultLimits(overrides: Partial<Limits> = {}): Readonly<Limits> {
  const limits = { ...defaultLimits };
  for (const [name, value] of Object.entries(overrides)) {
    if (value !== undefined) limits[name as keyof Limits] = value;
  }
  return Object.freeze(limits);
}
