import { VeripyError } from "../base/errors.ts";
import { cancelled } from "../protocol/pending-request.ts";
import { Backoff } from "./backoff.ts";
import { withStarted } from "./call-fate.ts";

export interface RepeatOptions<T> {
  /** By `performance.now()`. No attempt begins after it. */
  readonly deadline: number;
  readonly signal: AbortSignal | undefined;
  /** Whether another attempt makes sense. Called only for attempts that have certainly not run. */
  mayRepeat(error: VeripyError): boolean;
  attempt(): Promise<T>;
}

/** The pauses between them add up to 1.5 to 3.1 s. */
export const maxRepeatAttempts = 6;

/**
 * Repeats an attempt, with growing, jittered pauses, until one succeeds, has begun at the server, or fails for good; at most
 * `maxRepeatAttempts` times. `failure` is that of a first attempt made before. Rejects with the last failure.
 */
export async function repeat<T>(options: RepeatOptions<T>, failure?: VeripyError): Promise<T> {
  const { deadline, signal } = options;
  const backoff = new Backoff({ firstMs: 100, maxMs: 3_000 });
  let last = failure;
  for (let attempts = failure === undefined ? 0 : 1; ; attempts++) {
    if (last !== undefined) {
      const pauseMs = backoff.nextMs();
      if (attempts === maxRepeatAttempts || performance.now() + pauseMs >= deadline) throw last;
      await pause(pauseMs, signal);
    }
    try {
      return await options.attempt();
    } catch (error) {
      if (!(error instanceof VeripyError) || error.started !== false || !options.mayRepeat(error))
        throw error;
      last = error;
    }
  }
}

/** Rejects with `cancelled` when the signal is aborted, before or meanwhile. */
export function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const given = () => {
      clearTimeout(timer);
      reject(withStarted(cancelled(), false));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", given);
      resolve();
    }, ms);
    if (signal?.aborted === true) given();
    else signal?.addEventListener("abort", given, { once: true });
  });
}
