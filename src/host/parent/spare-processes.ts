import { encodeFrame } from "../../protocol/frame.ts";
import type { ModuleSource } from "../../source/module-source.ts";
import type { PreparePayload } from "../protocol.ts";
import type { SandboxRules } from "../sandbox-rules.ts";
import { type HostOptions, hostTitle } from "./command.ts";
import { moduleRules } from "./module-sandbox.ts";
import { HostProcess, type OnLine } from "./process.ts";
import { removeLeftFolders, temporaryFoldersRemoved } from "./temporary-folder.ts";

export interface SpareTiming {
  /** How long after a process was taken the next is started: not while the load needs the processor. */
  readonly refillMs: number;
  /** How long the spares are kept; one of them stays. */
  readonly keepMs: number;
}

const defaultTiming: SpareTiming = { refillMs: 20, keepMs: 60_000 };

/** Two, because the next edit often comes before a process that was started after the last one is ready. */
const maxEqual = 2;
/** Room for one more, so that calls of other modules in between don't end those that wait for the next edit. */
const maxSpares = 3;

/**
 * Processes that are started in advance and wait for a module, so that an edit and the first call of a module need not
 * wait for a process. They are started for the permissions that were needed last. When none was needed for a minute, all
 * but one end.
 */
export class SpareProcesses {
  readonly #options: Partial<HostOptions>;
  readonly #timing: SpareTiming;
  /** Oldest first: the one that has most likely finished starting. */
  #spares: Spare[] = [];
  #lastNeed: Need | undefined;
  #refill: ReturnType<typeof setTimeout> | undefined;
  #expiry: ReturnType<typeof setTimeout> | undefined;
  #isOpen = false;

  constructor(options: Partial<HostOptions>, timing: SpareTiming = defaultTiming) {
    this.#options = options;
    this.#timing = timing;
  }

  /**
   * From now on, spares are started when processes are needed. Call it when the server has started. Temporary folders that
   * killed servers have left are removed in the background.
   */
  open(): void {
    this.#isOpen = true;
    removeLeftFolders();
  }

  /**
   * A spare process, or a new one, for the module. The next spares are prepared for the same permissions and folder of
   * modules. Throws as `moduleRules` and `HostProcess.start` do.
   */
  async take(source: ModuleSource, maxQueuedBytes: number, onLine: OnLine): Promise<HostProcess> {
    const rules = moduleRules(source, this.#options);
    const key = keyOf(rules);
    const spare = this.#spares.find((each) => each.key === key);
    this.#spares = this.#spares.filter((each) => each !== spare);
    this.#need({ key, rules, root: source.root, maxQueuedBytes });
    const process = await spare?.started;
    if (spare === undefined || !process?.isAlive) return this.#start(source, maxQueuedBytes, onLine, rules);
    spare.onLine = onLine;
    return process;
  }

  /**
   * A new process for a module that nobody waits for: the spares are left to those that somebody waits for. Throws as
   * `take` does.
   */
  start(source: ModuleSource, maxQueuedBytes: number, onLine: OnLine): Promise<HostProcess> {
    const rules = moduleRules(source, this.#options);
    // The best guess of what will be needed first.
    if (this.#lastNeed === undefined)
      this.#need({ key: keyOf(rules), rules, root: source.root, maxQueuedBytes });
    return this.#start(source, maxQueuedBytes, onLine, rules);
  }

  /**
   * Ends the spare processes, and resolves when they have ended and every process's temporary folder is gone. From then
   * on `take` starts a new process each time.
   */
  async close(): Promise<void> {
    this.#isOpen = false;
    clearTimeout(this.#refill);
    clearTimeout(this.#expiry);
    await this.#keepNewest(0);
    await temporaryFoldersRemoved();
  }

  #start(
    source: ModuleSource,
    maxQueuedBytes: number,
    onLine: OnLine,
    rules: SandboxRules | undefined,
  ): Promise<HostProcess> {
    return HostProcess.start(this.#options, maxQueuedBytes, onLine, rules, hostTitle(source));
  }

  #need(need: Need): void {
    if (!this.#isOpen) return;
    this.#lastNeed = need;
    this.#refillLater();
    clearTimeout(this.#expiry);
    this.#expiry = setTimeout(() => void this.#keepNewest(1), this.#timing.keepMs).unref();
  }

  #refillLater(): void {
    clearTimeout(this.#refill);
    this.#refill = setTimeout(() => this.#startSpare(), this.#timing.refillMs).unref();
  }

  /** One at a time, until there are enough for the last need. */
  #startSpare(): void {
    const need = this.#lastNeed;
    const missing = () => maxEqual - this.#spares.filter((each) => each.key === need?.key).length;
    if (need === undefined || missing() <= 0) return;
    this.#spares.push(new Spare(need, this.#options));
    void this.#keepNewest(maxSpares);
    if (missing() > 0) this.#refillLater();
  }

  async #keepNewest(count: number): Promise<void> {
    const excess = this.#spares.splice(0, Math.max(0, this.#spares.length - count));
    await Promise.all(excess.map((spare) => spare.end()));
  }
}

/** What a process was needed for. */
interface Need {
  /** Processes with equal rules are interchangeable; see `keyOf`. */
  readonly key: string;
  readonly rules: SandboxRules | undefined;
  readonly root: string;
  readonly maxQueuedBytes: number;
}

function keyOf(rules: SandboxRules | undefined): string {
  return JSON.stringify(rules ?? "all");
}

class Spare {
  readonly key: string;
  /** Undefined if it could not be started. The next `take` tries again, and throws the reason. */
  readonly started: Promise<HostProcess | undefined>;
  /** Takes what it prints. Does nothing before the process has a module. */
  onLine: OnLine = () => {};

  constructor({ key, root, rules, maxQueuedBytes }: Need, options: Partial<HostOptions>) {
    this.key = key;
    const onLine: OnLine = (level, text) => this.onLine(level, text);
    this.started = HostProcess.start(options, maxQueuedBytes, onLine, rules).then(
      (process) => {
        const prepare: PreparePayload = { root };
        process.duplex.write(encodeFrame("host", "prepare", "0", JSON.stringify(prepare)));
        return process;
      },
      () => undefined,
    );
  }

  async end(): Promise<void> {
    const process = await this.started;
    process?.kill("it was not needed");
    await process?.exited;
  }
}
