import { encodeFrame } from "../../protocol/frame.ts";
import type { PreparePayload } from "../protocol.ts";
import type { HostOptions } from "./command.ts";
import { HostProcess, type OnLine } from "./process.ts";

export interface SpareTiming {
  /** From a taken process to the start of the next, so that it does not take the processor from a load. */
  readonly refillMs: number;
  /** How long a process waits to be taken. */
  readonly keepMs: number;
}

const defaultTiming: SpareTiming = { refillMs: 20, keepMs: 60_000 };

/**
 * A process that is started already and waits for a module. An edit rarely comes alone: after the first, the next
 * ones are loaded without waiting for a process, and after a minute without any there is none that waits.
 */
export class SpareProcess {
  readonly #options: Partial<HostOptions>;
  readonly #timing: SpareTiming;
  /** Started, or about to be; undefined when it cannot be started. */
  #spare: Promise<Spare | undefined> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOpen = false;

  constructor(options: Partial<HostOptions>, timing: SpareTiming = defaultTiming) {
    this.#options = options;
    this.#timing = timing;
  }

  /** From now on there is to be a process that waits after one was taken; not while a server starts. */
  open(): void {
    this.#isOpen = true;
  }

  /**
   * The process that waits or is just being started, or else a new one, for a module below `root`; the next is
   * expected to be for one there too. Throws as `HostProcess.start` does.
   */
  async take(root: string, maxQueuedBytes: number, onLine: OnLine, title?: string): Promise<HostProcess> {
    const taken = this.#spare;
    this.#spare = undefined;
    if (this.#isOpen) this.#later(this.#timing.refillMs, () => this.#fill(root, maxQueuedBytes));
    const spare = await taken;
    if (spare?.process.isAlive) {
      spare.onLine = onLine;
      return spare.process;
    }
    return HostProcess.start(this.#options, maxQueuedBytes, onLine, title);
  }

  /** Ends the process that waits, and resolves when it is gone; `take` starts a new one each time from here on. */
  async close(): Promise<void> {
    this.#isOpen = false;
    clearTimeout(this.#timer);
    await this.#dismiss();
  }

  #fill(root: string, maxQueuedBytes: number): void {
    this.#spare = startSpare(this.#options, root, maxQueuedBytes);
    this.#later(this.#timing.keepMs, () => void this.#dismiss());
  }

  async #dismiss(): Promise<void> {
    const dismissed = this.#spare;
    this.#spare = undefined;
    const spare = await dismissed;
    spare?.process.kill("nobody needed it");
    await spare?.process.exited;
  }

  #later(ms: number, action: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(action, ms);
    this.#timer.unref();
  }
}

async function startSpare(
  options: Partial<HostOptions>,
  root: string,
  maxQueuedBytes: number,
): Promise<Spare | undefined> {
  const spare: Omit<Spare, "process"> = { onLine: () => {} };
  try {
    const onLine: OnLine = (level, text) => spare.onLine(level, text);
    const process = await HostProcess.start(options, maxQueuedBytes, onLine);
    const prepare: PreparePayload = { root };
    process.duplex.write(encodeFrame("host", "prepare", "0", JSON.stringify(prepare)));
    return Object.assign(spare, { process });
  } catch {
    // Whoever needs a process next tries again, and says why it can't be had.
    return undefined;
  }
}

interface Spare {
  readonly process: HostProcess;
  /** Who hears what it prints; nobody, before it has a module. */
  onLine: OnLine;
}
