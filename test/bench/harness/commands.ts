/** Where a generator finds its server, and the files of the certificates it uses. One JSON argument. */
export interface Target {
  readonly host: string;
  readonly port: number;
  readonly certs: string;
  /** What a raw connection sends first, so that the server's answer proves the whole handshake. */
  readonly hello?: string;
  /** The same as hexadecimal, for a protocol of bytes. */
  readonly helloHex?: string;
  readonly alpn?: string;
}

/** What a generator is told, one JSON object a line on its standard input. */
export type Command =
  | {
      readonly do: "load";
      readonly connections: number;
      /** Calls in flight on each connection. */
      readonly inFlight: number;
      /** Size of the argument, and so of the result; 0 is the word `World`. */
      readonly bytes: number;
      readonly warmupMs: number;
      readonly durationMs: number;
    }
  | {
      readonly do: "handshakes";
      readonly atOnce: number;
      readonly warmupMs: number;
      readonly durationMs: number;
    }
  /** Opens connections and keeps them until `release`. */
  | { readonly do: "hold"; readonly connections: number }
  | { readonly do: "release" }
  /** Causes one broadcast at a time to `clients` connections, `times` times. */
  | {
      readonly do: "broadcast";
      readonly clients: number;
      readonly times: number;
      readonly trigger: { readonly file: string } | { readonly send: string };
      /** How a broadcast's line begins. */
      readonly marker: string;
    }
  /** Saves a module file `times` times; waits each time until a client has verified the new source. */
  | { readonly do: "edits"; readonly file: string; readonly times: number };

/** What a generator says, one JSON object a line on its standard output. */
export type Reply =
  /** The warm-up is over: the time that counts begins now. */
  { readonly measuring: true } | { readonly done: Result } | { readonly failed: string };

export interface Result {
  /** What was completed inside `ms`. */
  readonly count: number;
  readonly ms: number;
  /** Named times of single events, in milliseconds. */
  readonly times: Readonly<Record<string, readonly number[]>>;
  /** For loads: percentiles of all calls, in milliseconds. */
  readonly p50?: number;
  readonly p99?: number;
}
