import { VeripyError } from "../../src/base/errors.ts";
import type { Call } from "../../src/host/call.ts";
import type { RunnableVersion, VersionStats } from "../../src/modules/module-version.ts";
import type { ModuleSource } from "../../src/source/module-source.ts";

/** A version without a process. It stops when its calls in flight have ended, or when `force` is called. */
export class FakeVersion implements RunnableVersion {
  readonly mod: string;
  readonly sum: RunnableVersion["sum"];
  readonly tree: RunnableVersion["tree"];
  readonly desc: string | undefined;
  readonly input = undefined;
  readonly permissions: RunnableVersion["permissions"];
  readonly describedBy: RunnableVersion["describedBy"];
  readonly isResident: boolean = false;
  readonly source: ModuleSource;
  isReplaced = false;
  inFlight = 0;
  /** The arguments of each `stop`. */
  readonly drains: number[] = [];
  readonly #stopped = Promise.withResolvers<void>();
  isStopped = false;

  constructor(source: ModuleSource) {
    this.mod = source.mod;
    this.sum = source.sum;
    this.tree = source.tree;
    this.source = source;
    // Most fakes have a source that could not run.
    const { manifest } = source;
    this.permissions = manifest instanceof VeripyError ? {} : manifest.permissions;
    this.describedBy = manifest instanceof VeripyError ? "source" : manifest.describedBy;
    this.desc = /^\/\/ desc: (.*)/.exec(source.entry.content)?.[1];
  }

  get content(): string {
    return [this.source.entry, ...this.source.files].map(({ content }) => content).join(" + ");
  }

  call(): Call {
    this.inFlight++;
    return { abort() {}, resume() {} };
  }

  endCall(): void {
    this.inFlight--;
    if (this.drains.length > 0 && this.inFlight === 0) this.force();
  }

  async prove(): Promise<void> {}

  async rest(): Promise<void> {}

  wake(): void {}

  replaced(): void {
    if (this.isReplaced) throw new Error("replaced() was called twice");
    this.isReplaced = true;
  }

  stop(drainMs = 0): Promise<void> {
    this.drains.push(drainMs);
    if (this.inFlight === 0 || drainMs === 0) this.force();
    return this.#stopped.promise;
  }

  force(): void {
    this.isStopped = true;
    this.#stopped.resolve();
  }

  stats(): VersionStats {
    const { mod, tree, inFlight } = this;
    const current = !this.isReplaced;
    const none = { pid: undefined, memoryBytes: undefined, p50Ms: undefined, p99Ms: undefined };
    return { ...none, mod, tree, current, state: "running", calls: 0, failures: 0, restarts: 0, inFlight };
  }
}

/** Loads fakes. Content with `// broken` is rejected; while `hold` is set, loads wait for `release`. */
export class FakeLoader {
  readonly versions: FakeVersion[] = [];
  /** The contents of entry files, in the order in which their loads began. */
  readonly begun: string[] = [];
  atOnce = 0;
  mostAtOnce = 0;
  hold = false;
  #held: Array<() => void> = [];

  readonly load = async (source: ModuleSource): Promise<FakeVersion> => {
    this.begun.push(source.entry.content);
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.atOnce);
    try {
      if (this.hold) await new Promise<void>((resolve) => this.#held.push(resolve));
      else await Bun.sleep(1);
      if (source.entry.content.includes("// broken"))
        throw new VeripyError("bad_module", `${source.mod}: it does not load.`);
      const version = new FakeVersion(source);
      this.versions.push(version);
      return version;
    } finally {
      this.atOnce--;
    }
  };

  /** Lets the oldest waiting load continue. */
  release(): void {
    this.#held.shift()?.();
  }

  of(content: string): FakeVersion {
    const found = this.versions.findLast((version) => version.content === content);
    if (found === undefined) throw new Error(`Nothing with the content '${content}' was loaded.`);
    return found;
  }
}
