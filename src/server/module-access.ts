import { VeripyError } from "../base/errors.ts";
import type { RunnableVersion, VersionStats } from "../modules/module-version.ts";
import type { ModuleRegistry } from "../modules/registry.ts";
import type { Grant } from "../trust/trusted-keys.ts";

/** What one client may see of the modules, and do with them. */
export class ModuleAccess {
  readonly #registry: ModuleRegistry;
  readonly #onForbidden: (request: string) => void;
  #grant: Grant;

  /** `onForbidden` is called with each request that is refused, such as `exec deploy.ts`. */
  constructor(registry: ModuleRegistry, grant: Grant, onForbidden: (request: string) => void) {
    this.#registry = registry;
    this.#grant = grant;
    this.#onForbidden = onForbidden;
  }

  get grant(): Grant {
    return this.#grant;
  }

  /** Applies to requests that arrive from now on. */
  setGrant(grant: Grant): void {
    this.#grant = grant;
  }

  /** Whether the client may run at least one of the current modules. */
  get mayRun(): boolean {
    if (!this.#grant.mayAct("exec")) return false;
    return this.#registry.current().some(({ mod }) => this.#grant.maySee(mod));
  }

  /** Whether the client may be told of changes of `mod`. */
  mayFollow(mod: string): boolean {
    return this.#grant.mayAct("sync") && this.#grant.maySee(mod);
  }

  /** Whether the client may sync everything. A catalogue names every module. */
  get mayHaveCatalogue(): boolean {
    const { modules } = this.#grant;
    return this.#grant.mayAct("sync") && (modules === undefined || modules.includes("*"));
  }

  /** Throws `forbidden` when the client may not have the catalogue. */
  authorizeCatalogue(): void {
    if (this.mayHaveCatalogue) return;
    this.#onForbidden("catalogue");
    throw new VeripyError(
      "forbidden",
      "This key may not have the catalogue, because that names every module and this key may not sync all of them.",
    );
  }

  /** Whether the client may know of `mod`. */
  maySee(mod: string): boolean {
    return this.#grant.maySee(mod);
  }

  /** Throws `forbidden` when the client may not do that. */
  authorize(action: "sync" | "verify" | "exec", mod?: string): void {
    if (this.#grant.mayAct(action) && (mod === undefined || this.#grant.maySee(mod))) return;
    const request = mod === undefined ? action : `${action} ${mod}`;
    this.#onForbidden(request);
    throw new VeripyError("forbidden", `This key may not ${request}.`);
  }

  /** The current version, or the one with this tree. Throws `not_found` or `version_mismatch`. */
  find(mod: string, tree?: string): RunnableVersion {
    const found = this.#registry.find(mod, tree);
    if ("version" in found) return found.version;
    if (found.reason === "not_found") throw new VeripyError("not_found", `There is no module '${mod}'.`);
    throw new VeripyError("version_mismatch", `No version of '${mod}' with the tree ${tree} is kept here.`);
  }

  /** The current versions of the modules that the client may see. */
  visible(): RunnableVersion[] {
    return this.#registry.current().filter(({ mod }) => this.#grant.maySee(mod));
  }

  /** Of all versions of those modules that can be called. */
  stats(): VersionStats[] {
    return this.#registry.stats().filter(({ mod }) => this.#grant.maySee(mod));
  }
}
