import type { HostOptions } from "./host-command.ts";
import { HostProcess, type OnLine } from "./host-process.ts";

export interface HostReserveTiming {
  /** From a taken process to the start of the next, so that it does not take the processor from a load. */
  readonly refillMs: number;
  /** How long a process waits to be taken. */
  readonly keepMs: number;
}

const defaultTiming: HostReserveTiming = { refillMs: 20, keepMs: 60_000 };

/**
 * A process that is started already and waits for a module. An edit rarely comes alone: after the first, the next
 * ones are loaded without waiting for a process, and after a minute without any there is none that waits.
 */
export class HostReserve {
  readonly #options: Partial<HostOptions>;
  readonly #timing: HostReserveTiming;
  #spare: Spare | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOpen = false;
  #filling: Promise<void> | undefined;

  constructor(options: Partial<HostOptions>, timing: HostReserveTiming = defaultTiming) {
    this.#options = options;
    this.#timing = timing;
  }

  /** From now on there is to be a process that waits after one was taken; not while a server starts. */
  open(): void {
    this.#isOpen = true;
  }

  /** The process that waits, or else a new one. Throws as `HostProcess.start` does. */
  async take(maxQueuedBytes: number, onLine: OnLine): Promise<HostProcess> {
    const spare = this.#spare;
    this.#spare = undefined;
    if (this.#isOpen)
      this.#later(this.#timing.refillMs, () => {
        this.#filling = this.#fill(maxQueuedBytes);
      });
    if (spare?.process.isAlive) {
      spare.onLine = onLine;
      return spare.process;
    }
    return HostProcess.start(this.#options, maxQueuedBytes, onLine);
  }

  /** Ends the process that waits, and resolves when it is gone; `take` starts a new one each time from here on. */
  async close(): Promise<void> {
    this.#isOpen = false;
    clearTimeout(this.#timer);
    const spare = this.#spare;
    this.#spare = undefined;
    await Promise.all([this.#filling, spare === undefined ? undefined : dismiss(spare.process)]);
  }

  async #fill(maxQueuedBytes: number): Promise<void> {
    const spare: Omit<Spare, "process"> = { onLine: () => {} };
    let process: HostProcess;
    try {
      process = await HostProcess.start(this.#options, maxQueuedBytes, (level, text) =>
        spare.onLine(level, text),
      );
    } catch {
      // Whoever needs a process next tries again, and says why it can't be had.
      return;
    }
    if (!this.#isOpen || this.#spare !== undefined) {
      await dismiss(process);
      return;
    }
    this.#spare = Object.assign(spare, { process });
    this.#later(this.#timing.keepMs, () => {
      void dismiss(process);
      this.#spare = undefined;
    });
  }

  #later(ms: number, action: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(action, ms);
    this.#timer.unref();
  }
}

function dismiss(process: HostProcess): Promise<void> {
  process.kill("nobody needed it");
  return process.exited;
}

interface Spare {
  readonly process: HostProcess;
  /** Who hears what it prints; nobody, before it has a module. */
  onLine: OnLine;
}
