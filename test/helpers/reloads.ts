import { rename } from "node:fs/promises";
import { join } from "node:path";
import type { VeripyClient } from "../../src/index.ts";
import type { Site } from "./site.ts";
import { treeOf } from "./tools.ts";
import { within } from "./within.ts";
import { connectTo } from "./witness.ts";

/** Files below `mods/` with their content, the module itself among them. */
export type Files = Readonly<Record<string, string>>;

/** The versions of a module that were written, by tree. */
export class KnownVersions {
  readonly #numbers = new Map<string, number>();

  /** Notes that the version with these files answers `answerOf(number)`. Later versions have higher numbers. */
  add(files: Files, number: number): string {
    const tree = treeOf(files);
    this.#numbers.set(tree, number);
    return tree;
  }

  /** Throws unless exactly one version has this tree and gives this result. Returns its number. */
  check({ tree, result }: { readonly tree: string; readonly result: string }): number {
    const number = this.#numbers.get(tree);
    if (number === undefined) throw new Error(`The answer names the tree ${tree}, which was never written.`);
    if (result !== answerOf(number))
      throw new Error(`The tree of version ${number} came with the result '${result}'.`);
    return number;
  }
}

/** The answer of version `number`, long enough to show whether two were mixed. */
export function answerOf(number: number): string {
  return `version ${number} `.repeat(5);
}

/** One connection that calls a module in a loop until `stop`, and checks every answer. */
export class Caller {
  readonly #client: VeripyClient;
  readonly #mod: string;
  readonly #versions: KnownVersions;
  readonly #pauseMs: number;
  readonly #loop: Promise<void>;
  #stopped = false;
  #failure: unknown;
  calls = 0;
  worstMs = 0;
  /** The number of the newest version that has answered. No older one may follow on the same connection. */
  newest = -1;

  private constructor(client: VeripyClient, mod: string, versions: KnownVersions, pauseMs: number) {
    this.#client = client;
    this.#mod = mod;
    this.#versions = versions;
    this.#pauseMs = pauseMs;
    this.#loop = this.#run().catch((error) => {
      this.#failure = error;
    });
  }

  static async start(site: Site, mod: string, versions: KnownVersions, pauseMs = 0): Promise<Caller> {
    return new Caller(await connectTo(site), mod, versions, pauseMs);
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const begunAt = performance.now();
      const answer = await this.#client.exec(this.#mod);
      this.worstMs = Math.max(this.worstMs, performance.now() - begunAt);
      const number = this.#versions.check(answer);
      if (number < this.newest) throw new Error(`Version ${number} answered after version ${this.newest}.`);
      this.newest = number;
      this.calls += 1;
      if (this.#pauseMs > 0) await Bun.sleep(this.#pauseMs);
    }
  }

  /** Throws if anything went wrong. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#loop;
    this.#client.close();
    this.throwIfFailed();
  }

  throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}

/** Edits a module again and again, each time after the server has announced the previous edit. */
export class Editor {
  readonly #site: Site;
  readonly #client: VeripyClient;
  readonly #mod: string;
  readonly #seen = new Map<string, () => void>();

  private constructor(site: Site, client: VeripyClient, mod: string) {
    this.#site = site;
    this.#client = client;
    this.#mod = mod;
    client.on("news", (news) => {
      if (news.kind === "modreload" && news.mod === mod) this.#seen.get(news.report.tree ?? "")?.();
    });
  }

  static async start(site: Site, mod: string): Promise<Editor> {
    return new Editor(site, await connectTo(site), mod);
  }

  /** Writes one file and resolves when the version with `tree` is current. */
  async write(path: string, content: string, tree: string, how: "in place" | "by rename"): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#seen.set(tree, resolve);
    if (how === "in place") await this.#site.write(path, content);
    else {
      await this.#site.write(`.${path.replaceAll("/", "_")}.tmp`, content);
      const mods = join(this.#site.path, "mods");
      await rename(join(mods, `.${path.replaceAll("/", "_")}.tmp`), join(mods, path));
    }
    await within(10_000, `the reload of ${this.#mod}`, promise);
    this.#seen.delete(tree);
  }

  close(): void {
    this.#client.close();
  }
}
