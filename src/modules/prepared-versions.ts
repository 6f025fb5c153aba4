import type { ModuleSource } from "../source/module-source.ts";
import type { RunnableVersion } from "./module-version.ts";

/** Versions that have loaded before they may be found, so that many modules can change at one moment. */
export class PreparedVersions {
  readonly #versions = new Map<string, RunnableVersion>();

  add(version: RunnableVersion): void {
    this.#versions.set(keyOf(version), version);
  }

  /** The version of exactly this source, which it no longer holds then. */
  take(source: ModuleSource): RunnableVersion | undefined {
    const key = keyOf(source);
    const version = this.#versions.get(key);
    this.#versions.delete(key);
    return version;
  }

  /** All that nobody took. */
  takeRest(): RunnableVersion[] {
    const rest = [...this.#versions.values()];
    this.#versions.clear();
    return rest;
  }
}

function keyOf({ mod, tree }: Pick<ModuleSource, "mod" | "tree">): string {
  return `${mod} ${tree}`;
}
