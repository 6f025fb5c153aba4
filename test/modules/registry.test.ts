import { describe, expect, test } from "bun:test";
import { cp, mkdir, rename, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { configure, reset } from "@logtape/logtape";
import { defaultLimits } from "../../src/base/limits.ts";
import type { ModuleChange } from "../../src/modules/module-slot.ts";
import { ModuleRegistry, type RegistryOptions } from "../../src/modules/registry.ts";
import { FakeLoader, type FakeVersion } from "../helpers/fake-versions.ts";
import { ModsDir } from "../helpers/mods-dir.ts";
import { eventually } from "../helpers/within.ts";

/** A registry of fakes over real files; changes are kept as `reload a.ts: // content`. */
class Registered implements AsyncDisposable {
  readonly loader = new FakeLoader();
  readonly registry: ModuleRegistry;
  readonly changes: ModuleChange[] = [];
  readonly mods: ModsDir;

  constructor(mods: ModsDir, options: Partial<RegistryOptions> & { retain?: number } = {}) {
    this.mods = mods;
    const { retain = 1 } = options;
    this.registry = new ModuleRegistry({
      modsDir: mods.path,
      limits: { ...defaultLimits, retain },
      load: this.loader.load,
      settleMs: 40,
      timing: { pollMs: 200 },
      ...options,
    });
    this.registry.onChange((change) => this.changes.push(change));
  }

  static async start(
    mods: ModsDir,
    options: Partial<RegistryOptions> & { retain?: number } = {},
  ): Promise<Registered> {
    const registered = new Registered(mods, options);
    await registered.registry.start();
    registered.taken = registered.changes.length;
    return registered;
  }

  /** How many changes `next` has given out. */
  taken = 0;

  get texts(): string[] {
    return this.changes.map((change) => this.#textOf(change));
  }

  /** The changes after those that were given out before, when there are `count` of them; sorted. */
  async next(count = 1): Promise<string[]> {
    await eventually(`${count} more changes than ${this.texts.slice(0, this.taken)}`, () => {
      return this.changes.length >= this.taken + count;
    });
    const texts = this.texts.slice(this.taken);
    this.taken = this.changes.length;
    return texts.sort();
  }

  /**
   * Whatever the file system was told before has been worked off when this resolves: a module that was made
   * and removed afterwards has come and gone.
   */
  async calm(): Promise<void> {
    await this.mods.write("zz-calm.ts", "// calm");
    await eventually("the marker to come", () => this.texts.includes("load zz-calm.ts: // calm"));
    await this.mods.remove("zz-calm.ts");
    await eventually("the marker to go", () => this.texts.includes("unload zz-calm.ts"));
    for (let index = this.changes.length - 1; index >= 0; index--) {
      if (this.texts[index]?.includes("zz-calm.ts")) this.changes.splice(index, 1);
    }
  }

  versionOf(mod: string, tree?: string): FakeVersion | string {
    const found = this.registry.find(mod, tree);
    return "version" in found ? (found.version as FakeVersion) : found.reason;
  }

  contentOf(mod: string, tree?: string): string {
    const found = this.versionOf(mod, tree);
    return typeof found === "string" ? found : found.content;
  }

  #textOf(change: ModuleChange): string {
    if (change.kind === "moderror") return `error ${change.detail}`;
    const { mod, tree } = change.report;
    if (change.kind === "modunload") return `unload ${mod}`;
    const content = this.loader.versions.findLast((version) => version.tree === tree)?.content;
    return `${change.kind.slice(3)} ${mod}: ${content}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.registry.stop();
    expect(this.loader.versions.filter((version) => !version.isStopped)).toEqual([]);
  }
}

/** Hands every log line to `sink` until it is disposed of. */
async function captureLog(sink: (line: string) => void): Promise<AsyncDisposable> {
  await configure({
    sinks: { test: ({ message }) => sink(message.join("")) },
    loggers: [
      { category: "veripy", sinks: ["test"] },
      { category: ["logtape", "meta"], lowestLevel: "error" },
    ],
  });
  return { [Symbol.asyncDispose]: reset };
}

describe("the start", () => {
  test("loads everything, reports what fails, and resolves when all that is done", async () => {
    await using mods = await ModsDir.create({
      "b.ts": "// b",
      "a.js": "// desc: the first",
      "c.ts": "// broken",
      "d.ts": "import 'left-pad'",
    });
    await using registered = new Registered(mods);
    await registered.registry.start();
    expect(registered.texts.sort()).toEqual([
      "error c.ts: it does not load.",
      expect.stringMatching(/^error d.ts: cannot import 'left-pad'/),
      "load a.js: // desc: the first",
      "load b.ts: // b",
    ]);
    expect(registered.registry.current().map(({ mod }) => mod)).toEqual(["a.js", "b.ts"]);
    expect(registered.registry.stats().map(({ mod }) => mod)).toEqual(["a.js", "b.ts"]);
  });

  test("loads a bounded number of modules at a time", async () => {
    const names = Array.from({ length: 40 }, (_, index) => `m${index}.ts`);
    await using mods = await ModsDir.create(Object.fromEntries(names.map((name) => [name, `// ${name}`])));
    await using registered = await Registered.start(mods, { loadsAtOnce: 5 });
    expect(registered.registry.current().length).toBe(40);
    expect(registered.loader.mostAtOnce).toBe(5);
  });

  test("without mods/ succeeds, and its modules load when it appears", async () => {
    await using mods = await ModsDir.create();
    await rm(mods.path, { recursive: true });
    await using registered = await Registered.start(mods);
    expect(registered.registry.current()).toEqual([]);
    await mkdir(mods.path);
    await mods.write("a.ts", "// a");
    expect(await registered.next()).toEqual(["load a.ts: // a"]);
  });

  test("a change carries what identifies the version, as the two programs print it", async () => {
    await using mods = await ModsDir.create({
      "a.ts": "// desc: It imports\nimport './lib/x.ts'",
      "lib/x.ts": "",
    });
    await using registered = await Registered.start(mods);
    expect(registered.changes).toEqual([
      {
        kind: "modload",
        report: {
          mod: "a.ts",
          desc: "It imports",
          sum: await mods.sha256sum("a.ts"),
          tree: await mods.treeSum("a.ts", "lib/x.ts"),
          permissions: {},
          describedBy: "source",
        },
      },
    ]);
  });
});

describe("a change on the disk", () => {
  test("a new file loads, an edit reloads, a removal unloads with the last report", async () => {
    await using mods = await ModsDir.create();
    await using registered = await Registered.start(mods);
    await mods.write("a.ts", "// 1");
    expect(await registered.next()).toEqual(["load a.ts: // 1"]);
    await mods.replace("a.ts", "// 2");
    expect(await registered.next()).toEqual(["reload a.ts: // 2"]);
    await mods.write("a.ts", "// 3");
    expect(await registered.next()).toEqual(["reload a.ts: // 3"]);
    const sum = await mods.sha256sum("a.ts");
    await mods.remove("a.ts");
    expect(await registered.next()).toEqual(["unload a.ts"]);
    expect(registered.changes.at(-1)).toMatchObject({ kind: "modunload", report: { mod: "a.ts", sum } });
    expect(registered.versionOf("a.ts")).toBe("not_found");
    expect(registered.registry.current()).toEqual([]);
  });

  test("a renamed file unloads under the old name and loads under the new one", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// x" });
    await using registered = await Registered.start(mods);
    await rename(mods.at("a.ts"), mods.at("b.ts"));
    expect(await registered.next(2)).toEqual(["load b.ts: // x", "unload a.ts"]);
  });

  test("an edit of an imported file reloads everything that imports it, and nothing else", async () => {
    await using mods = await ModsDir.create({
      "a.ts": "import './lib/x.ts'",
      "b.ts": "import './lib/y.ts'",
      "c.ts": "// c",
      "lib/x.ts": "// 1",
      "lib/y.ts": "import './x.ts'",
    });
    await using registered = await Registered.start(mods);
    await mods.replace("lib/x.ts", "// 2");
    expect(await registered.next(2)).toEqual([
      "reload a.ts: import './lib/x.ts' + // 2",
      "reload b.ts: import './lib/y.ts' + // 2 + import './x.ts'",
    ]);
    await registered.calm();
    expect(registered.changes.length).toBe(5);
  });

  test("the same bytes written again, touched or renamed over are no change", async () => {
    await using mods = await ModsDir.create({ "a.ts": "import './lib/x.ts'", "lib/x.ts": "// x" });
    await using registered = await Registered.start(mods);
    await mods.write("a.ts", "import './lib/x.ts'");
    await mods.replace("a.ts", "import './lib/x.ts'");
    await mods.replace("lib/x.ts", "// x");
    await registered.calm();
    expect(registered.texts).toEqual(["load a.ts: import './lib/x.ts' + // x"]);
    expect(registered.loader.begun.filter((content) => content !== "// calm").length).toBe(1);
  });

  test("a file that disappears for a moment is no change", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// a" });
    await using registered = await Registered.start(mods, { settleMs: 1_000 });
    await rename(mods.at("a.ts"), mods.at("a.ts~"));
    await mods.write("_seen.ts", "");
    await mods.write("b.ts", "// b");
    expect(await registered.next()).toEqual(["load b.ts: // b"]);
    await mods.write("a.ts", "// a");
    await registered.calm();
    expect(registered.texts).toEqual(["load a.ts: // a", "load b.ts: // b"]);
  });

  test("a burst of 500 files loads them all", async () => {
    await using mods = await ModsDir.create();
    await using registered = await Registered.start(mods);
    const names = Array.from({ length: 500 }, (_, index) => `m${String(index).padStart(3, "0")}.ts`);
    await Promise.all(names.map((name) => mods.write(name, `// ${name}`)));
    expect(await registered.next(500)).toEqual(names.map((name) => `load ${name}: // ${name}`));
    await Promise.all(names.map((name) => mods.remove(name)));
    expect(await registered.next(500)).toEqual(names.map((name) => `unload ${name}`));
    expect(registered.registry.stats()).toEqual([]);
  });

  test("a swapped link inside mods/ reloads what is different behind it", async () => {
    await using mods = await ModsDir.create({
      "..1/a.ts": "// same",
      "..1/b.ts": "// 1",
      "..2/a.ts": "// same",
      "..2/b.ts": "// 2",
    });
    await mods.link("..1", "..data");
    await mods.link("..data/a.ts", "a.ts");
    await mods.link("..data/b.ts", "b.ts");
    await using registered = await Registered.start(mods);
    await symlink("..2", mods.at("..new"));
    await rename(mods.at("..new"), mods.at("..data"));
    await mods.remove("..1");
    expect(await registered.next()).toEqual(["reload b.ts: // 2"]);
    await registered.calm();
    expect(registered.changes.length).toBe(3);
  });
});

describe("mods/ itself", () => {
  test("deleted and created again: old modules unload, new ones load, and edits are noticed", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// a" });
    await using registered = await Registered.start(mods);
    await rm(mods.path, { recursive: true });
    expect(await registered.next()).toEqual(["unload a.ts"]);
    await mkdir(mods.path);
    await mods.write("b.ts", "// 1");
    expect(await registered.next()).toEqual(["load b.ts: // 1"]);
    await mods.write("b.ts", "// 2");
    expect(await registered.next()).toEqual(["reload b.ts: // 2"]);
  });

  test("replaced by another with the same content: no change, and edits are noticed", async () => {
    await using mods = await ModsDir.create({ "a.ts": "import './lib/x.ts'", "lib/x.ts": "// x" });
    await using registered = await Registered.start(mods, { settleMs: 200 });
    await cp(mods.path, join(mods.outside, "fresh"), { recursive: true });
    await rename(mods.path, join(mods.outside, "stale"));
    await rename(join(mods.outside, "fresh"), mods.path);
    await registered.calm();
    expect(registered.changes.length).toBe(1);
    await mods.write("lib/x.ts", "// y");
    expect((await registered.next()).at(-1)).toBe("reload a.ts: import './lib/x.ts' + // y");
  });

  test("a swapped link: only what is different behind it reloads, and edits there are noticed", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// same", "b.ts": "// 1", "c.ts": "// c" });
    const release = (name: string) => join(mods.outside, name);
    await cp(mods.path, release("2"), { recursive: true });
    await rename(mods.path, release("1"));
    await symlink("1", mods.path);
    await Bun.write(join(release("2"), "b.ts"), "// 2");
    await rm(join(release("2"), "c.ts"));
    await using registered = await Registered.start(mods);
    await symlink("2", release("new"));
    await rename(release("new"), mods.path);
    expect(await registered.next(2)).toEqual(["reload b.ts: // 2", "unload c.ts"]);
    await mods.write("a.ts", "// other");
    expect(await registered.next()).toEqual(["reload a.ts: // other"]);
  });

  test("replaced by a file: the modules stay as long as that lasts", async () => {
    const logged: string[] = [];
    await using _log = await captureLog((line) => logged.push(line));
    await using mods = await ModsDir.create({ "a.ts": "// a" });
    await using registered = await Registered.start(mods, { settleMs: 50, timing: { pollMs: 10 } });
    const aside = join(mods.outside, "aside");
    await rename(mods.path, aside);
    await Bun.write(mods.path, "");
    await eventually("a failed scan", () => logged.some((line) => line.startsWith("Cannot list ")));
    expect(registered.texts).toEqual(["load a.ts: // a"]);
    await rm(mods.path);
    await rename(aside, mods.path);
    await mods.write("b.ts", "// b");
    expect(await registered.next()).toEqual(["load b.ts: // b"]);
  });
});

describe("an edit that does not load", () => {
  test("leaves the last good version running, and is reported once for each content", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// good" });
    await using registered = await Registered.start(mods);
    await mods.write("a.ts", "// broken 1");
    expect(await registered.next()).toEqual(["error a.ts: it does not load."]);
    expect(registered.contentOf("a.ts")).toBe("// good");

    await mods.replace("a.ts", "// broken 1");
    await registered.calm();
    expect(registered.changes.length).toBe(2);

    await mods.write("a.ts", "// broken 2");
    await eventually("the second error", () => registered.changes.length === 3);

    // Replaced: a shorter text written in place may be read with the rest of the longer one behind it.
    await mods.replace("a.ts", "// better");
    await eventually("the repair", () => registered.changes.length === 4);
    expect(registered.texts.slice(2)).toEqual(["error a.ts: it does not load.", "reload a.ts: // better"]);
  });

  test("may return to the running content: nothing is reported, and the failure is forgotten", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// good" });
    await using registered = await Registered.start(mods);
    await mods.write("a.ts", "export const x = ;");
    expect(await registered.next()).toEqual(["error a.ts:1:18: Unexpected ;"]);
    await mods.write("a.ts", "// good");
    await registered.calm();
    await mods.write("a.ts", "export const x = ;");
    expect(await registered.next()).toEqual(["error a.ts:1:18: Unexpected ;"]);
    expect(registered.loader.begun).toEqual(["// good", "// calm"]);
  });

  test("that never loaded is forgotten silently when its file is removed", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// broken" });
    await using registered = await Registered.start(mods);
    await mods.remove("a.ts");
    await registered.calm();
    expect(registered.texts).toEqual(["error a.ts: it does not load."]);
  });

  test("is not reported when the rest of the file follows within a moment", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// good" });
    await using registered = await Registered.start(mods, { settleMs: 1_000 });
    await mods.write("a.ts", "");
    await mods.write("b.ts", "// b");
    await eventually("the marker", () => registered.texts.includes("load b.ts: // b"));
    await mods.write("a.ts", "// whole");
    await eventually("the whole file", () => registered.texts.includes("reload a.ts: // whole"));
    expect(registered.texts.filter((text) => text.startsWith("error"))).toEqual([]);
  });

  test("is tried again when its file is touched, because the cause may lie elsewhere", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// a" });
    let isDown = true;
    const loader = new FakeLoader();
    await using registered = await Registered.start(mods, {
      load: async (source) => {
        if (isDown) throw new TypeError("the database is down");
        return loader.load(source);
      },
    });
    expect(registered.texts).toEqual(["error a.ts: the database is down"]);
    isDown = false;
    await mods.replace("a.ts", "// a");
    await eventually("the load", () => registered.registry.current().length === 1);
    await registered.registry.stop();
  });

  test("of an import is an error of each module that imports it", async () => {
    await using mods = await ModsDir.create({
      "a.ts": "import './lib/x.ts'",
      "b.ts": "import './lib/x.ts'",
      "lib/x.ts": "// x",
    });
    await using registered = await Registered.start(mods);
    await mods.remove("lib/x.ts");
    expect(await registered.next(2)).toEqual([
      "error a.ts: cannot import './lib/x.ts': there is no such file.",
      "error b.ts: cannot import './lib/x.ts': there is no such file.",
    ]);
    expect(registered.contentOf("a.ts")).toBe("import './lib/x.ts' + // x");
  });
});

describe("the swap", () => {
  test("happens when the new version is ready; until then the old one is current", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// 1" });
    await using registered = await Registered.start(mods);
    const old = registered.loader.of("// 1");
    registered.loader.hold = true;
    await mods.write("a.ts", "// 2");
    await eventually("the load", () => registered.loader.begun.includes("// 2"));
    expect(registered.versionOf("a.ts")).toBe(old);
    expect(old.isReplaced).toBe(false);
    registered.loader.release();
    expect(await registered.next()).toEqual(["reload a.ts: // 2"]);
    expect(old.isReplaced).toBe(true);
    expect(registered.contentOf("a.ts")).toBe("// 2");
  });

  test("is done before listeners are told", async () => {
    await using mods = await ModsDir.create();
    await using registered = await Registered.start(mods);
    const seen: string[] = [];
    registered.registry.onChange((change) => {
      if (change.kind !== "moderror") seen.push(`${change.kind} ${registered.contentOf(change.report.mod)}`);
    });
    await mods.write("a.ts", "// 1");
    await registered.next();
    await mods.remove("a.ts");
    await registered.next();
    expect(seen).toEqual(["modload // 1", "modunload not_found"]);
  });

  test("while one content loads, only the newest that follows is loaded, and never an older one after it", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// 0" });
    await using registered = await Registered.start(mods);
    registered.loader.hold = true;
    await mods.write("a.ts", "// 1");
    await eventually("the first load", () => registered.loader.begun.includes("// 1"));
    for (let count = 2; count <= 20; count++) await mods.replace("a.ts", `// ${count}`);
    // Another module shows that the registry has read the last one: its load begins after.
    await mods.write("b.ts", "// b");
    await eventually("the other load", () => registered.loader.begun.includes("// b"));
    registered.loader.hold = false;
    for (let count = 0; count < 3; count++) registered.loader.release();
    await eventually("the newest", () => registered.contentOf("a.ts") === "// 20");
    await registered.calm();
    expect(registered.loader.begun.filter((content) => /^\/\/ \d/.test(content))).toEqual([
      "// 0",
      "// 1",
      "// 20",
    ]);
    expect(registered.contentOf("a.ts")).toBe("// 20");
  });

  test("200 edits without a pause end on the last content and are reported in order", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// 0" });
    // A file that is replaced whenever it is read counts as broken after a while; this storm is over before.
    await using registered = await Registered.start(mods, { settleMs: 5_000 });
    for (let count = 1; count <= 200; count++) await mods.replace("a.ts", `// ${count}`);
    await eventually("the last content", () => registered.contentOf("a.ts") === "// 200");
    const order = registered.texts.map((text) => Number(/\d+$/.exec(text)?.[0]));
    expect(order).toEqual(order.toSorted((a, b) => a - b));
    expect(new Set(order).size).toBe(order.length);
  });
});

describe("versions", () => {
  async function treesOf(registered: Registered, contents: string[]): Promise<string[]> {
    const trees: string[] = [];
    for (const content of contents) {
      await registered.mods.replace("a.ts", content);
      await eventually(content, () => registered.contentOf("a.ts") === content);
      trees.push(registered.loader.of(content).tree);
    }
    return trees;
  }

  test("are found by their tree: the current one and `retain` before it", async () => {
    await using mods = await ModsDir.create();
    await using registered = await Registered.start(mods, { retain: 2 });
    const trees = await treesOf(registered, ["// 1", "// 2", "// 3", "// 4"]);
    expect(trees.map((tree) => registered.contentOf("a.ts", tree))).toEqual([
      "version_mismatch",
      "// 2",
      "// 3",
      "// 4",
    ]);
    expect(registered.contentOf("a.ts")).toBe("// 4");
    expect(registered.contentOf("b.ts", trees[3])).toBe("not_found");
    expect(registered.registry.stats().map(({ tree, current }) => [tree as string, current])).toEqual([
      [trees[3] ?? "", true],
      [trees[2] ?? "", false],
      [trees[1] ?? "", false],
    ]);
    expect(registered.loader.versions.map(({ isReplaced }) => isReplaced)).toEqual([true, true, true, false]);
    expect(registered.loader.versions.map(({ drains }) => drains)).toEqual([
      [defaultLimits.drainMs],
      [],
      [],
      [],
    ]);
  });

  test("with retain 0 a replaced version is stopped at once, with time for its calls", async () => {
    await using mods = await ModsDir.create();
    await using registered = await Registered.start(mods, { retain: 0 });
    const [first] = await treesOf(registered, ["// 1"]);
    const version = registered.loader.of("// 1");
    version.call();
    await treesOf(registered, ["// 2"]);
    expect(registered.contentOf("a.ts", first)).toBe("version_mismatch");
    expect(version.drains).toEqual([defaultLimits.drainMs]);
    expect(version.isStopped).toBe(false);
    version.endCall();
    expect(version.isStopped).toBe(true);
  });

  test("coming back to the content of a kept one loads it afresh and stops the kept one", async () => {
    await using mods = await ModsDir.create();
    await using registered = await Registered.start(mods);
    const trees = await treesOf(registered, ["// 1", "// 2", "// 1"]);
    const [kept, second, fresh] = registered.loader.versions;
    expect(registered.versionOf("a.ts", trees[0])).toBe(fresh as FakeVersion);
    expect(registered.versionOf("a.ts", trees[1])).toBe(second as FakeVersion);
    expect(kept?.drains).toEqual([defaultLimits.drainMs]);
    expect([fresh?.isReplaced, second?.isReplaced]).toEqual([false, true]);
  });

  test("of a removed module are all stopped, with time for their calls", async () => {
    await using mods = await ModsDir.create();
    await using registered = await Registered.start(mods);
    const trees = await treesOf(registered, ["// 1", "// 2"]);
    const [first, second] = registered.loader.versions;
    first?.call();
    second?.call();
    await mods.remove("a.ts");
    await eventually("the unload", () => registered.versionOf("a.ts") === "not_found");
    expect(registered.versionOf("a.ts", trees[0])).toBe("not_found");
    expect([first?.isStopped, second?.isStopped]).toEqual([false, false]);
    expect([first?.drains, second?.drains]).toEqual([[defaultLimits.drainMs], [defaultLimits.drainMs]]);
    first?.endCall();
    second?.endCall();
    expect([first?.isStopped, second?.isStopped]).toEqual([true, true]);
  });
});

describe("stop", () => {
  test("ends every version, including replaced ones, and resolves when they have ended", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// 1", "b.ts": "// b" });
    const registered = await Registered.start(mods, { retain: 0 });
    const replaced = registered.loader.of("// 1");
    replaced.call();
    await mods.write("a.ts", "// 2");
    await registered.next();
    const current = registered.loader.of("// 2");
    current.call();
    let isStopped = false;
    const stopping = registered.registry.stop(500).then(() => {
      isStopped = true;
    });
    expect(registered.registry.current()).toEqual([]);
    expect(registered.versionOf("a.ts")).toBe("not_found");
    await eventually("the stop of all", () => current.drains.length > 0 && replaced.drains.length > 1);
    expect([current.drains, replaced.drains]).toEqual([[500], [defaultLimits.drainMs, 500]]);
    expect(isStopped).toBe(false);
    current.endCall();
    replaced.endCall();
    await stopping;
    expect(registered.registry.stop()).resolves.toBeUndefined();
    expect(registered.loader.versions.every((version) => version.isStopped)).toBe(true);
  });

  test("ends a version that becomes ready too late, without reporting it", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// 1" });
    const registered = await Registered.start(mods);
    registered.loader.hold = true;
    await mods.write("a.ts", "// 2");
    await eventually("the load", () => registered.loader.begun.includes("// 2"));
    const stopping = registered.registry.stop();
    registered.loader.release();
    await stopping;
    expect(registered.loader.of("// 2").isStopped).toBe(true);
    expect(registered.texts).toEqual(["load a.ts: // 1"]);
  });

  test("aborts a load that is under way", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// 1" });
    const begun = Promise.withResolvers<void>();
    const registry = new ModuleRegistry({
      modsDir: mods.path,
      limits: defaultLimits,
      load: (_source, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener("abort", () => reject(signal.reason));
          begun.resolve();
        }),
    });
    const changes: ModuleChange[] = [];
    registry.onChange((change) => changes.push(change));
    const starting = registry.start();
    await begun.promise;
    await registry.stop();
    await starting;
    expect(changes).toEqual([]);
  });
});

test("a listener that throws does not keep others from being told, and an unsubscribed one is not told", async () => {
  await using mods = await ModsDir.create({ "a.ts": "// a" });
  await using registered = new Registered(mods);
  const told: string[] = [];
  const leave = registered.registry.onChange(() => told.push("left"));
  registered.registry.onChange(() => {
    throw new Error("a fault of a listener");
  });
  registered.registry.onChange(() => told.push("stayed"));
  leave();
  await registered.registry.start();
  expect(told).toEqual(["stayed"]);
});
