import { encodeFrame } from "../../protocol/frame.ts";
import type { ModuleSource } from "../../source/module-source.ts";
import type { PreparePayload } from "../protocol.ts";
import type { SandboxRules } from "../sandbox-rules.ts";
import { type HostOptions, hostTitle } from "./command.ts";
import { moduleRules } from "./module-sandbox.ts";
import { HostProcess, type OnLine } from "./process.ts";
import { temporaryFoldersRemoved } from "./temporary-folder.ts";

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
  #spare: PreparedSpare | undefined;
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
   * The spare process, or a new one, for the module. The next spare is prepared for the same permissions and folder of
   * modules. Throws as `moduleRules` and `HostProcess.start` do.
   */
  async take(source: ModuleSource, maxQueuedBytes: number, onLine: OnLine): Promise<HostProcess> {
    const { root } = source;
    const rules = moduleRules(source, this.#options);
    const taken = this.#spare?.key === keyOf(rules) ? this.#spare : undefined;
    if (taken === undefined) void this.#dismiss();
    this.#spare = undefined;
    if (this.#isOpen) this.#later(this.#timing.refillMs, () => this.#fill(root, rules, maxQueuedBytes));
    const spare = await taken?.started;
    if (spare?.process.isAlive) {
      spare.onLine = onLine;
      return spare.process;
    }
    return HostProcess.start(this.#options, maxQueuedBytes, onLine, rules, hostTitle(source));
  }

  /**
   * Ends the spare process, and resolves when it has ended and every process's temporary folder is gone. From then on
   * `take` starts a new process each time.
   */
  async close(): Promise<void> {
    this.#isOpen = false;
    clearTimeout(this.#timer);
    await this.#dismiss();
    await temporaryFoldersRemoved();
  }

  #fill(root: string, rules: SandboxRules | undefined, maxQueuedBytes: number): void {
    this.#spare = { key: keyOf(rules), started: startSpare(this.#options, root, rules, maxQueuedBytes) };
    this.#later(this.#timing.keepMs, () => void this.#dismiss());
  }

  async #dismiss(): Promise<void> {
    const dismissed = this.#spare;
    this.#spare = undefined;
    const spare = await dismissed?.started;
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
  rules: SandboxRules | undefined,
  maxQueuedBytes: number,
): Promise<Spare | undefined> {
  const spare: Omit<Spare, "process"> = { onLine: () => {} };
  try {
    const onLine: OnLine = (level, text) => spare.onLine(level, text);
    const process = await HostProcess.start(options, maxQueuedBytes, onLine, rules);
    const prepare: PreparePayload = { root };
    process.duplex.write(encodeFrame("host", "prepare", "0", JSON.stringify(prepare)));
    return Object.assign(spare, { process });
  } catch {
    // The next `take` tries again, and throws the reason.
    return undefined;
  }
}

interface PreparedSpare {
  /** See `keyOf`. */
  readonly key: string;
  /** Undefined if it could not be started. */
  readonly started: Promise<Spare | undefined>;
}

/** Processes with equal rules are interchangeable. */
function keyOf(rules: SandboxRules | undefined): string {
  return JSON.stringify(rules ?? "all");
}

interface Spare {
  readonly process: HostProcess;
  /** Takes what it prints. Does nothing before the process has a module. */
  onLine: OnLine;
}
