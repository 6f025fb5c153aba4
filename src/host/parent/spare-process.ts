import { encodeFrame } from "../../protocol/frame.ts";
import type { PreparePayload } from "../protocol.ts";
import type { HostOptions } from "./command.ts";
import { HostProcess, type OnLine } from "./process.ts";

export interface SpareTiming {
  /** How long after a process was taken the next is started: not while the load needs the processor. */
  readonly refillMs: number;
  /** How long a spare process is kept. */
  readonly keepMs: number;
}

const defaultTiming: SpareTiming = { refillMs: 20, keepMs: 60_000 };

/**
 * A process that is started in advance and waits for a module. Edits rarely come alone: after the first one, the next
 * are loaded without waiting for a process. The spare ends when it was not needed for a minute.
 */
export class SpareProcess {
  readonly #options: Partial<HostOptions>;
  readonly #timing: SpareTiming;
  /** The spare process; it resolves to undefined if it could not be started. */
  #spare: Promise<Spare | undefined> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOpen = false;

  constructor(options: Partial<HostOptions>, timing: SpareTiming = defaultTiming) {
    this.#options = options;
    this.#timing = timing;
  }

  /** From now on, a spare is started whenever a process was taken. Call it when the server has started. */
  open(): void {
    this.#isOpen = true;
  }

  /**
   * The spare process, or a new one, for a module below `root`. The next spare is prepared for that `root` too. Throws as `HostProcess.start` does.
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

  /** Ends the spare process, and resolves when it has ended. From then on `take` starts a new process each time. */
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
    spare?.process.kill("it was not needed");
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
    // The next `take` tries again, and throws the reason.
    return undefined;
  }
}

interface Spare {
  readonly process: HostProcess;
  /** Takes what it prints. Does nothing before the process has a module. */
  onLine: OnLine;
}
