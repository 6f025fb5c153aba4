import { pause } from "../base/pause.ts";
import { Gate } from "../base/semaphore.ts";
import type { RunnableVersion } from "./module-version.ts";
import type { Quiet } from "./quiet.ts";

export interface TrialOptions {
  /** How many versions are tried at a time. */
  readonly atOnce: number;
  /** The pause after the first failure; each further one is twice as long. */
  readonly pauseMs: number;
  /** A trial keeps a core busy, so each waits for a quiet moment. */
  readonly quiet: Quiet;
  /** Ends the trials. */
  readonly signal: AbortSignal;
  /** A version has failed to load `attempts` times; `error` is the last reason. Must not throw. */
  readonly failed: (version: RunnableVersion, error: unknown) => void;
}

/** How often a version may fail to load before it is given up. */
const attempts = 3;

/** Finds out in the background, a few at a time, whether versions that were listed from their bytes load. */
export class LoadTrials {
  readonly #options: TrialOptions;
  readonly #gate: Gate;
  #waiting: RunnableVersion[] = [];

  constructor(options: TrialOptions) {
    this.#options = options;
    this.#gate = new Gate(options.atOnce);
  }

  /** The version is tried after `begin`. */
  add(version: RunnableVersion): void {
    this.#waiting.push(version);
  }

  /** Tries the versions that were added, those that stay resident first. */
  begin(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const version of waiting) if (version.isResident) void this.#try(version);
    for (const version of waiting) if (!version.isResident) void this.#try(version);
  }

  async #try(version: RunnableVersion): Promise<void> {
    const { failed, pauseMs, quiet, signal } = this.#options;
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        await this.#gate.run(async () => {
          await quiet.wait(signal);
          if (!signal.aborted) await version.prove();
        });
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (attempt === attempts) {
          failed(version, error);
          return;
        }
        await pause(pauseMs * 2 ** (attempt - 1), signal);
      }
    }
  }
}
