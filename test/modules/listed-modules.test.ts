import { expect, test } from "bun:test";
import { VeripyError } from "../../src/base/errors.ts";
import { defaultLimits } from "../../src/base/limits.ts";
import type { ModuleChange } from "../../src/modules/module-slot.ts";
import { ModuleRegistry } from "../../src/modules/registry.ts";
import type { ModuleSource } from "../../src/source/module-source.ts";
import { FakeLoader, FakeVersion } from "../helpers/fake-versions.ts";
import { ModsDir } from "../helpers/mods-dir.ts";
import { eventually } from "../helpers/within.ts";

/** A version that was listed: `// fails N` at its start makes that many trials fail. */
class ListedVersion extends FakeVersion {
  trials = 0;
  override readonly isResident = this.content.includes("resident");
  readonly #log: string[];

  constructor(source: ModuleSource, log: string[]) {
    super(source);
    this.#log = log;
  }

  override async prove(): Promise<void> {
    this.trials++;
    this.#log.push(this.mod);
    await Bun.sleep(1);
    if (this.trials <= Number(/fails (\d+)/.exec(this.content)?.[1] ?? 0))
      throw new VeripyError("bad_module", `${this.mod}: trial ${this.trials} failed.`);
  }
}

async function listed(mods: ModsDir, { maxRetainedBytes = defaultLimits.maxRetainedBytes } = {}) {
  const loader = new FakeLoader();
  const versions = new Map<string, ListedVersion>();
  const trials: string[] = [];
  const changes: ModuleChange[] = [];
  const registry = new ModuleRegistry({
    modsDir: mods.path,
    limits: { ...defaultLimits, retain: 3, maxRetainedBytes },
    load: loader.load,
    list: (source) => {
      if (source.entry.content.includes("computed")) return undefined;
      const version = new ListedVersion(source, trials);
      versions.set(source.mod, version);
      return version;
    },
    settleMs: 20,
    timing: { pollMs: 100 },
    trialPauseMs: 10,
  });
  registry.onChange((change) => changes.push(change));
  await registry.start();
  const texts = () =>
    changes.map((change) =>
      change.kind === "moderror" ? `moderror ${change.error}` : `${change.kind} ${change.report.mod}`,
    );
  const edit = async (mod: string, content: string): Promise<string> => {
    await mods.replace(mod, content);
    return eventually(content, () => {
      const found = registry.find(mod);
      if (!("version" in found) || (found.version as FakeVersion).content !== content) return undefined;
      return found.version.tree as string;
    });
  };
  return {
    [Symbol.asyncDispose]: () => registry.stop(),
    loader,
    versions,
    trials,
    changes,
    registry,
    texts,
    edit,
  };
}

test("at the start modules are listed without being loaded, and tried afterwards, resident ones first", async () => {
  await using mods = await ModsDir.create({ "a.ts": "// a", "b.ts": "// b", "c.ts": "// resident" });
  await using all = await listed(mods);
  expect(all.texts().sort()).toEqual(["modload a.ts", "modload b.ts", "modload c.ts"]);
  expect(all.loader.begun).toEqual([]);
  await eventually("the trials", () => all.trials.length === 3);
  expect(all.trials[0]).toBe("c.ts");
});

test("a module that only its process can describe is loaded before it is listed", async () => {
  await using mods = await ModsDir.create({ "a.ts": "// computed" });
  await using all = await listed(mods);
  expect(all.loader.begun).toEqual(["// computed"]);
  expect(all.registry.current().length).toBe(1);
});

test("a module that fails to load three times is withdrawn with the reason, and an edit brings it back", async () => {
  await using mods = await ModsDir.create({ "a.ts": "// fails 3", "b.ts": "// fails 2" });
  await using all = await listed(mods);
  await eventually("the failure", () => all.texts().some((text) => text.startsWith("moderror")));
  await eventually("the other's third trial", () => all.versions.get("b.ts")?.trials === 3);
  expect(all.texts().slice(2)).toEqual(["modunload a.ts", "moderror a.ts: trial 3 failed."]);
  expect(all.registry.current().map(({ mod }) => mod)).toEqual(["b.ts"]);
  expect(all.registry.find("a.ts")).toEqual({ reason: "not_found" });
  expect(all.versions.get("a.ts")?.isStopped).toBe(true);
  await all.edit("a.ts", "// better");
  expect(all.texts().at(-1)).toBe("modload a.ts");
});

test("an edit that loads is not undone by the trial of the version that it replaced", async () => {
  await using mods = await ModsDir.create({ "a.ts": "// fails 3" });
  await using all = await listed(mods);
  const edited = all.edit("a.ts", "// better");
  await eventually("three trials", () => all.versions.get("a.ts")?.trials === 3);
  await edited;
  await Bun.sleep(0);
  expect(all.registry.current().map((version) => (version as FakeVersion).content)).toEqual(["// better"]);
});

test("an edit is loaded before it takes over a listed version", async () => {
  await using mods = await ModsDir.create({ "a.ts": "// a" });
  await using all = await listed(mods);
  await mods.replace("a.ts", "// broken");
  await eventually("the failure", () => all.texts().includes("moderror a.ts: it does not load."));
  expect(all.registry.current()[0] as FakeVersion).toBe(all.versions.get("a.ts") as FakeVersion);
});

test("a bound on bytes holds for the kept versions of all modules, and those replaced first go first", async () => {
  await using mods = await ModsDir.create({ "a.ts": "// a1", "b.ts": "// b1" });
  await using all = await listed(mods, { maxRetainedBytes: 10 });
  const treeOf = (mod: string) => all.versions.get(mod)?.tree as string;
  const a2 = await all.edit("a.ts", "// a2");
  await all.edit("b.ts", "// b2");
  expect(all.registry.find("a.ts", treeOf("a.ts"))).toHaveProperty("version");
  await all.edit("a.ts", "// a3");
  expect(all.registry.find("a.ts", treeOf("a.ts"))).toEqual({ reason: "version_mismatch" });
  expect(all.versions.get("a.ts")?.isStopped).toBe(true);
  expect(all.registry.find("b.ts", treeOf("b.ts"))).toHaveProperty("version");
  expect(all.registry.find("a.ts", a2)).toHaveProperty("version");
});

test("`limits.retain` of a new version ends earlier ones", async () => {
  await using mods = await ModsDir.create({ "a.ts": "// a1" });
  await using all = await listed(mods);
  await all.edit("a.ts", "// a2");
  const last = `export const limits = { retain: 1 }; export const execute = () => "";`;
  await all.edit("a.ts", last);
  expect(all.registry.stats().length).toBe(2);
  await all.edit("a.ts", last.replace("1", "0"));
  expect(all.registry.stats().length).toBe(1);
  expect(all.versions.get("a.ts")?.isStopped).toBe(true);
});

test("retire ends the kept versions of a module, or one of them, and never the current one", async () => {
  await using mods = await ModsDir.create({ "a.ts": "// a1" });
  await using all = await listed(mods);
  const first = all.versions.get("a.ts")?.tree as string;
  const trees = [first, await all.edit("a.ts", "// a2"), await all.edit("a.ts", "// a3")];
  const retire = (mod: string, tree?: string) => () => all.registry.retire(mod, tree);
  expect(retire("b.ts")).toThrow("Cannot retire 'b.ts': there is no such module.");
  expect(retire("a.ts", "0".repeat(8))).toThrow("no version with that tree is kept");
  expect(retire("a.ts", trees[2]?.slice(0, 8))).toThrow("it is the current version");
  expect(retire("a.ts", "")).toThrow("2 versions begin like that");
  expect(all.registry.retire("a.ts", first.slice(0, 8)).map(({ tree }) => tree as string)).toEqual([first]);
  expect(all.registry.find("a.ts", first)).toEqual({ reason: "version_mismatch" });
  expect(all.registry.find("a.ts", trees[1])).toHaveProperty("version");
  expect(all.registry.retire("a.ts").length).toBe(1);
  expect(all.registry.retire("a.ts")).toEqual([]);
  expect(all.registry.stats().map(({ tree }) => tree as string)).toEqual([trees[2] ?? ""]);
});
