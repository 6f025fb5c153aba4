import type { ModuleSource } from "../source/module-source.ts";
import type { RunnableVersion } from "./module-version.ts";

/** The replaced versions of all modules, in the order in which they were replaced, within a bound on their bytes. */
export class RetainedVersions {
  readonly #maxBytes: number;
  readonly #drop: (version: RunnableVersion) => void;
  readonly #bytes = new Map<RunnableVersion, number>();
  #total = 0;

  /** `drop` is called with each version that no longer fits. It calls `delete`, perhaps later. */
  constructor(maxBytes: number, drop: (version: RunnableVersion) => void) {
    this.#maxBytes = maxBytes;
    this.#drop = drop;
  }

  add(version: RunnableVersion): void {
    const bytes = sizeOf(version.source);
    this.#bytes.set(version, bytes);
    this.#total += bytes;
    for (const oldest of this.#bytes.keys()) {
      if (this.#total <= this.#maxBytes) return;
      this.delete(oldest);
      this.#drop(oldest);
    }
  }

  /** Does nothing for a version that is not retained. */
  delete(version: RunnableVersion): void {
    this.#total -= this.#bytes.get(version) ?? 0;
    this.#bytes.delete(version);
  }
}

function sizeOf({ entry, files }: ModuleSource): number {
  return [entry, ...files].reduce((bytes, { content }) => bytes + Buffer.byteLength(content), 0);
}
