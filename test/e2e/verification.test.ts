import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { dial, request } from "../helpers/frames.ts";
import type { Ended } from "../helpers/processes.ts";
import { type Lies, ScriptedServer } from "../helpers/scripted-server.ts";
import { Site } from "../helpers/site.ts";
import { jsonLines, sha256, treeOf } from "../helpers/tools.ts";
import { eventually } from "../helpers/within.ts";

setDefaultTimeout(20_000);

let site: Site;

beforeAll(async () => {
  site = await Site.create();
});
afterAll(() => site[Symbol.asyncDispose]());

const content = "import { shout } from './lib/shout.ts';\nexport const execute = async () => shout('hi');\n";
const library = "export const shout = (text: string) => text.toUpperCase();\n";
const evil = "export const execute = async () => 'evil';\n";

function start(lies: Lies = {}): Promise<ScriptedServer> {
  return ScriptedServer.start(site.certs, {
    "hello.ts": { content, files: { "lib/shout.ts": library } },
  }).then((server) => Object.assign(server, { lies }));
}

let homes = 0;

/** Each call has a home of its own: what is in the store would not be fetched again. */
const call = (server: ScriptedServer, ...args: string[]): Promise<Ended> =>
  site.call(["--port", String(server.port), "--home", `home-${homes++}`, "--certs", "certs", ...args]);

describe("an honest server", () => {
  test("is verified with every file, and its module runs", async () => {
    using server = await start();
    const verified = await call(server, "verify");
    expect(verified.exitCode).toBe(0);
    expect(verified.stderr).toMatch(/^consistent, not approved: .*\n$/);
    for (const digest of [sha256(content), sha256(library), server.report("hello.ts").tree ?? ""])
      expect(verified.stdout).toContain(digest);
    expect(verified.stdout).toStartWith("verified  hello.ts");

    expect(await call(server, "exec", "hello")).toEqual({ exitCode: 0, stdout: "it ran\n", stderr: "" });
    expect(server.requests.at(-1)).toContain(`"tree":"${server.report("hello.ts").tree}"`);
  });
});

describe("a server that lies", () => {
  const truth = { content: sha256(content), library: sha256(library) };
  const false64 = "f".repeat(64);

  const tree = treeOf({ "hello.ts": content, "lib/shout.ts": library });
  const cases: Array<{ about: string; lies: Lies; expected: string; actual: string }> = [
    {
      about: "the sum in its list",
      lies: { sync: ([report]) => Object.assign(report ?? {}, { sum: false64 }) },
      expected: false64,
      actual: truth.content,
    },
    {
      about: "the sum in its answer",
      lies: { verify: (answer) => Object.assign(answer, { sum: false64 }) },
      expected: false64,
      actual: truth.content,
    },
    {
      about: "the source of the module",
      lies: { verify: (answer) => Object.assign(answer, { content: evil }) },
      expected: truth.content,
      actual: sha256(evil),
    },
    {
      about: "the source of an imported file",
      lies: { verify: ({ files }) => Object.assign(files?.[0] ?? {}, { content: evil }) },
      expected: truth.library,
      actual: sha256(evil),
    },
    {
      about: "an imported file and its sum",
      lies: { verify: ({ files }) => Object.assign(files?.[0] ?? {}, { content: evil, sum: sha256(evil) }) },
      expected: tree,
      actual: treeOf({ "hello.ts": content, "lib/shout.ts": evil }),
    },
    {
      about: "which files there are",
      lies: { verify: (answer) => Object.assign(answer, { files: [] }) },
      expected: tree,
      actual: treeOf({ "hello.ts": content }),
    },
    {
      about: "the tree in its list",
      lies: { sync: ([report]) => Object.assign(report ?? {}, { tree: false64 }) },
      expected: false64,
      actual: tree,
    },
    {
      about: "the tree in its answer",
      lies: { verify: (answer) => Object.assign(answer, { tree: false64 }) },
      expected: false64,
      actual: tree,
    },
    {
      about: "having trees, in its answer only",
      lies: {
        verify(answer) {
          delete answer.tree;
          delete answer.files;
        },
      },
      expected: "nothing",
      actual: treeOf({ "hello.ts": content }),
    },
  ];

  test.each(cases)("about $about is caught, shown in full, and not run", async (given) => {
    using server = await start(given.lies);
    const verified = await call(server, "verify");
    expect(verified.exitCode).toBe(4);
    expect(verified.stdout).toStartWith("REJECTED  hello.ts");
    expect(verified.stdout).toContain(`expected  ${given.expected} (from the `);
    expect(verified.stdout).toContain(`got       ${given.actual}`);

    const json = await call(server, "--json", "verify");
    expect(json.exitCode).toBe(4);
    const [verdict] = jsonLines(json.stdout);
    expect(verdict).toMatchObject({ verified: false, mod: "hello.ts" });
    expect(verdict?.mismatches).toContainEqual(
      expect.objectContaining({ expected: given.expected, actual: given.actual }),
    );

    const run = await call(server, "exec", "hello");
    expect(run).toMatchObject({ exitCode: 4, stdout: "" });
    expect(run.stderr).toContain(`expected ${given.expected} (from the `);
    expect(run.stderr).toContain(`, got ${given.actual}`);
    expect(server.requests.filter((line) => line.startsWith("mod:exec"))).toEqual([]);
  });

  test("about the version that it ran is caught", async () => {
    using server = await start({ exec: (answer) => Object.assign(answer, { tree: false64 }) });
    const run = await call(server, "exec", "hello");
    expect(run).toMatchObject({ exitCode: 4, stdout: "" });
    expect(run.stderr).toContain(false64);
    expect(run.stderr).toContain(tree);
  });

  test("about the sum of what it ran is caught", async () => {
    using server = await start({ exec: (answer) => Object.assign(answer, { sum: false64 }) });
    for (const flags of [[], ["--json"]]) {
      const run = await call(server, ...flags, "exec", "hello");
      expect(run.exitCode).toBe(4);
      expect(run.stdout + run.stderr).toContain(`sum ${false64}`);
      expect(run.stdout).not.toContain("it ran");
    }
  });

  test("by leaving out which version it ran is caught", async () => {
    using server = await start({
      exec(answer) {
        delete answer.tree;
      },
    });
    expect(await call(server, "exec", "hello")).toMatchObject({ exitCode: 4, stdout: "" });
  });

  test("about another module's name is caught", async () => {
    using server = await start({ verify: (answer) => Object.assign(answer, { mod: "other.ts" }) });
    const verified = await call(server, "verify");
    expect(verified.exitCode).toBe(4);
    expect(verified.stdout).toContain("other.ts");
  });

  test("in a broadcast is caught, while an honest broadcast is believed", async () => {
    using server = await start();
    const client = site.watch(["--port", String(server.port), "--json"]);
    await client.line('"cause":"sync","verified":true');

    const module = server.modules["hello.ts"];
    if (module !== undefined) module.content = `${content}// edited\n`;
    server.broadcast("modreload", server.report("hello.ts"));
    await client.line('"cause":"modreload","verified":true');

    if (module !== undefined) module.content = evil;
    const edited = { ...server.report("hello.ts"), sum: sha256(content) };
    server.broadcast("modreload", edited);
    const [verdict] = jsonLines(await client.line('"verified":false'));
    expect(verdict?.mismatches).toContainEqual({
      what: "hello.ts",
      by: "the report",
      expected: sha256(content),
      actual: sha256(evil),
    });
    await client[Symbol.asyncDispose]();
  });
});

describe("a module that changes between its verification and a call", () => {
  const version = (word: string) => `export const execute = async () => "${word}";\n`;

  /** A real server with one verified module, which is then replaced on disk. */
  async function changed(flags: string[]): Promise<{ site: Site; old: string; now: string }> {
    const other = await Site.create({ "word.ts": version("first") });
    await other.start(flags);
    using client = await dial(other.port, other.certs);
    const { payload } = await request(client, "mod:verify", { mod: "word.ts" });
    expect(payload.content).toBe(version("first"));
    await other.write("word.ts", version("second"));
    const now = treeOf({ "word.ts": version("second") });
    await eventually("the new version", () => client.lines.some((line) => line.includes(now)));
    return { site: other, old: String(payload.tree), now };
  }

  test("runs as it was verified, while the old version is retained", async () => {
    const { site: other, old, now } = await changed([]);
    await using _ = other;
    using client = await dial(other.port, other.certs);
    const exec = (tree?: string) => request(client, "mod:exec", { mod: "word.ts", args: "", tree });
    expect((await exec(old)).payload).toMatchObject({ result: "first", tree: old });
    expect((await exec(now)).payload).toMatchObject({ result: "second", tree: now });
    expect((await exec()).payload).toMatchObject({ result: "second", tree: now });
  });

  test("does not run when the old version is not retained", async () => {
    const { site: other, old } = await changed(["--retain", "0"]);
    await using _ = other;
    using client = await dial(other.port, other.certs);
    const { payload } = await request(client, "mod:exec", { mod: "word.ts", args: "", tree: old });
    expect(payload.code).toBe("version_mismatch");
    expect(payload).not.toHaveProperty("result");
    // The client verifies the new version, and runs that.
    expect((await other.call(["exec", "word"])).stdout).toBe("second\n");
  });
});

describe("a module that imports", () => {
  const importing = `import { greet } from "./lib/greet.ts";
export const execute = async (args: string) => greet(args);
`;
  const greet = "export const greet = (name: string) => 'Good day, ' + name + '!';\n";
  const computed = `export async function execute(args: string) {
  const { greet } = await import("./lib/" + "greet.ts");
  return greet(args);
}
`;

  test("runs with the files that were hashed with it, and changes with them", async () => {
    await using other = await Site.create({ "lib/greet.ts": greet, "importing.ts": importing });
    await other.start();
    const [verdict] = jsonLines((await other.call(["--json", "verify", "importing"])).stdout);
    expect(verdict).toMatchObject({
      verified: true,
      sum: sha256(importing),
      tree: treeOf({ "importing.ts": importing, "lib/greet.ts": greet }),
      files: [
        { path: "importing.ts", sum: sha256(importing) },
        { path: "lib/greet.ts", sum: sha256(greet) },
      ],
    });
    expect((await other.call(["exec", "importing", "Ann"])).stdout).toBe("Good day, Ann!\n");

    const watching = other.watch(["--json"]);
    await watching.line(/"cause":"sync".*"importing.ts"/);
    const edited = greet.replace("day", "night");
    await other.write("lib/greet.ts", edited);
    const line = await watching.line(/"cause":"modreload".*"importing.ts"/);
    expect(jsonLines(line)[0]?.tree).toBe(treeOf({ "importing.ts": importing, "lib/greet.ts": edited }));
    expect((await other.call(["exec", "importing", "Ann"])).stdout).toBe("Good night, Ann!\n");
  });

  test("cannot load a file that was not hashed", async () => {
    await using other = await Site.create({ "lib/greet.ts": greet, "computed.ts": computed });
    await other.start();
    const refused = await other.call(["exec", "computed", "Ann"]);
    expect(refused).toMatchObject({ exitCode: 1, stdout: "" });
    expect(refused.stderr).toContain("greet.ts");

    // The same import, of a file that is listed.
    await other.write("computed.ts", `import "./lib/greet.ts";\n${computed}`);
    await eventually("the file to count as part of the module", async () => {
      return (await other.call(["exec", "computed", "Ann"])).stdout === "Good day, Ann!\n";
    });
  });
});
