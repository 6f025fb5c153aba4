import { describe, expect, test } from "bun:test";
import { VeripyError } from "../../src/base/errors.ts";
import { defaultLimits, withDefaultLimits } from "../../src/base/limits.ts";
import { withoutRoot } from "../../src/host/public-text.ts";
import { loadVersion } from "../../src/modules/hosted-version.ts";
import type { ModuleChange } from "../../src/modules/module-slot.ts";
import { ModuleRegistry } from "../../src/modules/registry.ts";
import { ModsDir } from "../helpers/mods-dir.ts";
import { load } from "../helpers/versions.ts";

// What is said of modules reaches clients, who are to learn nothing of the server's machine, and nothing of modules
// that they may not see.

test("a path below mods/ is told from there, and mods/ itself by that name", () => {
  expect(withoutRoot("cannot read /srv/mods/lib/x.ts in /srv/mods", "/srv/mods")).toBe(
    "cannot read lib/x.ts in mods",
  );
  expect(withoutRoot("a/b", "/")).toBe("a/b");
});

describe("a failure to load", () => {
  /** What a registry with real processes says of the modules in `mods`, by name. */
  async function failuresIn(
    mods: ModsDir,
  ): Promise<Map<string, Extract<ModuleChange, { kind: "moderror" }>>> {
    const failures = new Map<string, Extract<ModuleChange, { kind: "moderror" }>>();
    const registry = new ModuleRegistry({
      modsDir: mods.path,
      limits: defaultLimits,
      load: (source) => loadVersion(source, { limits: withDefaultLimits() }),
    });
    registry.onChange((change) => change.kind === "moderror" && failures.set(change.mod, change));
    await registry.start();
    await registry.stop();
    return failures;
  }

  test("names neither this machine's paths nor where links lead nor twins; the log's text does", async () => {
    await using mods = await ModsDir.create({
      "a.ts": "export const execute = () => '';",
      "A.ts": "export const execute = () => '';",
      "computed.ts": "await import('./y' + 1); export const execute = () => '';",
      "broken.ts": "import data from './b.json'; export const execute = () => data;",
      "b.json": "{no",
    });
    await mods.link("/etc/hostname", "outside.ts");
    const failures = await failuresIn(mods);
    expect([...failures.keys()].sort()).toEqual(["A.ts", "a.ts", "broken.ts", "computed.ts", "outside.ts"]);
    const root = await mods.root();
    const all = [...failures.values()].map(({ error }) => error).join("\n");
    for (const secret of [mods.outside, root, "/etc"]) expect(all).not.toContain(secret);
    expect(failures.get("a.ts")?.error).not.toContain("A.ts");
    expect(failures.get("A.ts")?.error).not.toContain("a.ts");
    expect(failures.get("broken.ts")?.error).toStartWith("b.json is not JSON");

    expect(failures.get("a.ts")?.detail).toContain("A.ts");
    expect(failures.get("outside.ts")?.detail).toContain("/etc/hostname");
    expect(failures.get("broken.ts")?.detail).toContain(root);
  });

  test("says which other modules it names, whether they are read or loaded", async () => {
    await using mods = await ModsDir.create({
      "reads.ts": "import './secret.ts'; import './lib/x.ts';",
      "secret.ts": "export const = 1;",
      "loads.ts": "import { nope } from './plain.ts'; export const execute = () => nope;",
      "plain.ts": "export const a = 1; export const execute = () => '';",
      "own.ts": "import './lib/y.ts';",
      "lib/x.ts": "",
      "lib/y.ts": "export const = 1;",
    });
    const failures = await failuresIn(mods);
    expect(failures.get("reads.ts")).toMatchObject({
      error: expect.stringContaining("secret.ts:1:"),
      others: ["secret.ts"],
    });
    expect(failures.get("loads.ts")).toMatchObject({
      error: expect.stringContaining("plain.ts"),
      others: ["plain.ts"],
    });
    expect(failures.get("own.ts")).toMatchObject({
      error: expect.stringContaining("lib/y.ts:1:"),
      others: [],
    });
    expect(failures.get("secret.ts")?.others).toEqual([]);
  });

  test("for want of a process does not name the executable", async () => {
    const hosts = { command: ["/nowhere/to/be/found"] };
    const fault = await load("export const execute = () => '';", { hosts }).catch((error) => error);
    expect(fault).toBeInstanceOf(VeripyError);
    expect(fault.message).toBe("Cannot start a module host: ENOENT: no such file or directory.");
    expect(fault.detail).toContain("/nowhere/to/be/found");
  });
});

describe("a failure of a call", () => {
  test("by the loader has no path of this machine", async () => {
    await using m = await load(
      "export const execute = async (name: string) => { await import(name); return ''; };",
    );
    const absolute = "/somewhere/else.ts";
    const failure = await m.failure("./y");
    expect(failure).toContain("'./y'");
    expect(failure).not.toContain(m.version.source.root);
    expect(await m.failure(absolute)).toContain(`cannot import '${absolute}'`);
  });

  test("by the module's own words has those words", async () => {
    await using m = await load(
      "export const execute = () => { throw new Error('no ' + import.meta.path); };",
    );
    expect(await m.failure()).toBe(`exec_failed: no ${m.version.source.root}/m.ts`);
  });
});
