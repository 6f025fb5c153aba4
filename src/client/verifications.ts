import { messageOf, VeripyError } from "../base/errors.ts";
import { Gate } from "../base/semaphore.ts";
import type { VeripyClient } from "./client.ts";
import { verifiedAtOnce } from "./verify-each.ts";
import type { VerdictCause, WatchEvent } from "./watch-event.ts";

const firstRetryMs = 1_000;
const longestRetryMs = 60_000;

/**
 * The verifications of a watching client, a few at a time. A failed one is retried, with growing pauses, as long as the
 * client is connected and the server reports the same version.
 */
export class Verifications {
  readonly #client: VeripyClient;
  readonly #onEvent: (event: WatchEvent) => void;
  readonly #gate = new Gate(verifiedAtOnce);
  /** Modules that wait for their turn, which will see their latest report. Another `add` is not needed for them. */
  readonly #waiting = new Set<string>();
  readonly #retries = new Map<string, ReturnType<typeof setTimeout>>();

  constructor(client: VeripyClient, onEvent: (event: WatchEvent) => void) {
    this.#client = client;
    this.#onEvent = onEvent;
    // After a reconnect, every module without a verdict is verified anyway.
    for (const event of ["disconnected", "closed"] as const) client.on(event, () => this.#forgetRetries());
  }

  /** Resolves with the verdict, or when the first attempt has failed. Never rejects. */
  async add(mod: string, cause: VerdictCause): Promise<void> {
    if (this.#waiting.has(mod)) return;
    this.#waiting.add(mod);
    await this.#gate.run(() => {
      this.#waiting.delete(mod);
      return this.#verify(mod, cause, firstRetryMs);
    });
  }

  async #verify(mod: string, cause: VerdictCause, retryMs: number): Promise<void> {
    this.#forgetRetry(mod);
    try {
      this.#onEvent({ event: "verdict", cause, verdict: await this.#client.verify(mod) });
    } catch (error) {
      // A lost connection and a removed module have events of their own.
      if (!this.#isWanted(mod)) return;
      const known =
        error instanceof VeripyError ? error : new VeripyError("protocol_error", messageOf(error));
      this.#onEvent({ event: "unverified", cause, mod, error: known, retryMs });
      this.#retryLater(mod, cause, retryMs);
    }
  }

  #retryLater(mod: string, cause: VerdictCause, retryMs: number): void {
    this.#forgetRetry(mod);
    const report = this.#client.reports.get(mod);
    const timer = setTimeout(() => {
      this.#retries.delete(mod);
      // A newer version has a verification of its own.
      if (!this.#isWanted(mod) || this.#client.reports.get(mod) !== report) return;
      const next = Math.min(retryMs * 2, longestRetryMs);
      void this.#gate.run(() => this.#verify(mod, cause, next));
    }, retryMs);
    timer.unref();
    this.#retries.set(mod, timer);
  }

  #isWanted(mod: string): boolean {
    return this.#client.isConnected && this.#client.reports.has(mod);
  }

  #forgetRetry(mod: string): void {
    clearTimeout(this.#retries.get(mod));
    this.#retries.delete(mod);
  }

  #forgetRetries(): void {
    for (const mod of [...this.#retries.keys()]) this.#forgetRetry(mod);
  }
}
