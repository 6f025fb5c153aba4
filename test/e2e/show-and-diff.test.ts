import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { evilArgument, forgedVerdicts, strayEscapes } from "../helpers/escapes.ts";
import { Running } from "../helpers/processes.ts";
import { ScriptedServer } from "../helpers/scripted-server.ts";
import { Site } from "../helpers/site.ts";
import { Terminal } from "../helpers/terminal.ts";
import { jsonLines, python, pythonFixture, sha256, treeOf } from "../helpers/tools.ts";
import { eventually } from "../helpers/within.ts";

setDefaultTimeout(30_000);

const red = "\x1b[31m";
// Its imported file has no newline at its end.
const main = `export const permissions = { read: ["/etc/hosts"] } as const;
import { hidden } from "./lib/hidden.ts";
export const execute = () => hidden;
`;
const imported = 'export const hidden = "a\u202eb\u200bc\td";';
const tree = treeOf({ "main.ts": main, "lib/hidden.ts": imported });

let site: Site;
beforeAll(async () => {
  site = await Site.create({
    "main.ts": main,
    "lib/hidden.ts": imported,
    "root.ts": 'export const permissions = "all";\nexport const execute = () => "";\n',
  });
  await site.start();
});
afterAll(() => site[Symbol.asyncDispose]());

const onTerminal = async (args: string[], port = site.port) => {
  await using terminal = new Terminal([site.client, "--port", String(port), ...args], site.path, {
    env: { NO_COLOR: "", FORCE_COLOR: "" },
  });
  const exitCode = await terminal.ended();
  return { exitCode, output: terminal.output.replaceAll("\r\n", "\n") };
};

/** Another site, for tests that change what is served and approved. */
async function newSite(modules: Record<string, string>, flags: string[] = []): Promise<Site> {
  const other = await Site.create(modules);
  await other.start(flags);
  return other;
}

async function edit(one: Site, files: Record<string, string>, expected: string): Promise<void> {
  for (const [name, text] of Object.entries(files)) await one.write(name, text);
  await eventually("the new version", async () =>
    (await one.call(["list", "--json"])).stdout.includes(expected),
  );
}

describe("show", () => {
  test("prints the manifest, permissions first, and then every file with its exact bytes in a pipe", async () => {
    const { exitCode, stdout, stderr } = await site.call(["show", "main"]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout.split("\n").slice(0, 3)).toEqual([
      "main.ts  not approved",
      "  permissions   read /etc/hosts",
      `  tree          ${tree}`,
    ]);
    expect(stdout).toEndWith(`\n\n==> main.ts <==\n${main}\n==> lib/hidden.ts <==\n${imported}`);
  });

  test("numbers the lines on a terminal, and shows what can't be seen", async () => {
    const { exitCode, output } = await onTerminal(["show", "main"]);
    expect(exitCode).toBe(0);
    expect(strayEscapes(output.replaceAll(/\x1b\[(1|22)m/g, ""))).toEqual([]);
    expect(output).toContain("\x1b[90m   3\x1b[39m  export const execute = () => hidden;\n");
    expect(output).toContain("a\x1b[33m\\u202e\x1b[39mb\x1b[33m\\u200b\x1b[39mc\td");
  });

  test("shows the permission for everything in red, and an ordinary one not", async () => {
    expect((await onTerminal(["show", "root"])).output).toContain(`permissions   ${red}all\x1b[39m`);
    expect((await onTerminal(["show", "main"])).output).not.toContain(red);
  });

  test("prints one object with --json, the sources in it", async () => {
    const [shown, ...rest] = jsonLines((await site.call(["show", "main", "--json"])).stdout);
    expect(rest).toEqual([]);
    expect(shown).toMatchObject({
      mod: "main.ts",
      tree,
      state: "not approved",
      permissions: { read: ["/etc/hosts"] },
      permissions_enforced: expect.any(Boolean),
      files: [
        { path: "main.ts", sum: sha256(main), content: main },
        { path: "lib/hidden.ts", sum: sha256(imported), content: imported },
      ],
    });
  });

  test("prints the rejection of a server that sends other bytes, and none of its source", async () => {
    using server = await ScriptedServer.start(site.certs, { "main.ts": { content: main } });
    server.lies = {
      verify: (answer) => {
        answer.content = "export const execute = () => 'evil';\n";
      },
    };
    const { exitCode, stdout } = await site.call(["--port", String(server.port), "show", "main"]);
    expect(exitCode).toBe(4);
    expect(stdout).toStartWith("REJECTED  main.ts\n");
    expect(stdout).not.toContain("'evil'");
  });

  describe("--tree", () => {
    test("shows an earlier version from the store, also without a connection", async () => {
      await using own = await newSite({ "hello.ts": "export const execute = () => 1;\n" });
      const first = treeOf({ "hello.ts": "export const execute = () => 1;\n" });
      const second = "export const execute = () => 2;\n";
      await own.call(["verify"]);
      await edit(own, { "hello.ts": second }, treeOf({ "hello.ts": second }));
      for (const digits of [first, first.slice(0, 8)]) {
        // No server listens there.
        const { exitCode, stdout } = await own.call([
          "show",
          "hello",
          "--tree",
          digits,
          "-H",
          "localhost:1",
          "-p",
          "1",
        ]);
        expect(exitCode).toBe(0);
        expect(stdout).toEndWith("==> hello.ts <==\nexport const execute = () => 1;\n");
      }
      // The current one needs no store.
      const current = await own.call(["show", "hello", "--tree", treeOf({ "hello.ts": second })]);
      expect(current.stdout).toEndWith(`==> hello.ts <==\n${second}`);

      await Bun.write(join(own.path, "store", first), "tampered");
      const missing = await own.call(["show", "hello", "--tree", first]);
      expect(missing.exitCode).toBe(4);
      expect(missing.stderr).toContain("not in the store");
    });

    test.each(["0".repeat(7), "G".repeat(64), tree.toUpperCase(), `${tree}0`])(
      "%p is a usage error that says what a tree is",
      async (digits) => {
        const { exitCode, stderr } = await site.call(["show", "main", "--tree", digits]);
        expect(exitCode).toBe(2);
        expect(stderr).toContain("8 to 64 lowercase hexadecimal digits");
      },
    );

    test("a version that nobody has is exit code 4", async () => {
      const { exitCode, stderr } = await site.call(["show", "main", "--tree", "0".repeat(64)]);
      expect(exitCode).toBe(4);
      expect(stderr).toContain(tree);
    });
  });
});

describe("diff", () => {
  test("of a server without approvals, everything is new, and the exit code is 1", async () => {
    const { exitCode, stdout } = await site.call(["diff"]);
    expect(exitCode).toBe(1);
    expect(stdout).toContain("main.ts  not approved\n  approved  nothing\n");
    expect(stdout).toContain(
      "permissions\n+read /etc/hosts\n--- a/main.ts\n+++ b/main.ts\n@@ -0,0 +1,3 @@\n",
    );
    expect(stdout).toContain("root.ts  not approved\n");
  });

  test("shows what can't be seen, in a pipe too, and as escapes with --json", async () => {
    const { stdout } = await site.call(["diff", "main"]);
    expect(strayEscapes(stdout)).toEqual([]);
    expect(stdout).toContain('+export const hidden = "a\\u202eb\\u200bc\td";\n');
    expect(stdout).toContain("\\ Not to be seen above: U+202E in column 25, U+200B in column 27\n");
    const json = await site.call(["diff", "main", "--json"]);
    expect(strayEscapes(json.stdout)).toEqual([]);
    expect(JSON.parse(json.stdout)).toMatchObject({
      mod: "main.ts",
      changed: ["new"],
      manifest: [{ field: "permissions", lines: ["+read /etc/hosts"] }],
      files: [
        { path: "main.ts" },
        { path: "lib/hidden.ts", patch: expect.stringContaining(`+${imported}\n`) },
      ],
    });
  });

  test("approved, changed, removed: each file and each removed module is shown, or with --stat named", async () => {
    await using own = await newSite({
      "main.ts": main,
      "lib/hidden.ts": imported,
      "gone.ts": "export const execute = () => 1;\n",
    });
    await own.call(["approve", "main", "--yes", "--tree", tree]);
    await own.call([
      "approve",
      "gone",
      "--yes",
      "--tree",
      treeOf({ "gone.ts": "export const execute = () => 1;\n" }),
    ]);
    expect(await own.call(["diff", "main", "gone"])).toMatchObject({ exitCode: 0, stdout: "" });

    await rm(join(own.path, "mods/gone.ts"));
    const next = 'export const hidden = "d";\n';
    await edit(own, { "lib/hidden.ts": next }, treeOf({ "main.ts": main, "lib/hidden.ts": next }));
    await eventually("the removal", async () => !(await own.call(["list"])).stdout.includes("gone.ts"));
    const all = await own.call(["diff"]);
    expect(all.exitCode).toBe(1);
    expect(all.stdout).toContain("  current   nothing: the server no longer has it\n");
    expect(all.stdout).toContain("-export const execute = () => 1;\n");
    expect(all.stdout).toContain('\\ No newline at end of file\n+export const hidden = "d";\n');
    expect((await own.call(["diff", "gone"])).exitCode).toBe(1);
    const stat = await own.call(["diff", "main", "--stat"]);
    expect(stat.exitCode).toBe(1);
    expect(stat.stdout).toContain("  lib/hidden.ts  changed  +1 -1\n");
    expect(stat.stdout).not.toContain("export const");
  });

  test("permissions come before the code, and 'all' is red", async () => {
    await using own = await newSite({ "main.ts": main, "lib/hidden.ts": imported });
    await own.call(["approve", "main", "--yes", "--tree", tree]);
    const next = main.replace('{ read: ["/etc/hosts"] } as const', '"all"');
    await edit(own, { "main.ts": next }, treeOf({ "main.ts": next, "lib/hidden.ts": imported }));
    const { exitCode, output } = await onTerminal(
      ["diff", "main", "--certs", own.certs, "--home", own.path],
      own.port,
    );
    expect(exitCode).toBe(1);
    expect(output).toContain(
      `${red}-read /etc/hosts\x1b[39m\n${red}+all\x1b[39m (it runs without a sandbox)\n`,
    );
    expect(output.indexOf("+all")).toBeLessThan(output.indexOf("--- a/main.ts"));
  });

  test("says so when the approved source is not here, and which files differ by their digests", async () => {
    await using own = await newSite({ "main.ts": main, "lib/hidden.ts": imported });
    await own.call(["approve", "main", "--yes", "--tree", tree]);
    const next = `${main}// more\n`;
    await edit(own, { "main.ts": next }, treeOf({ "main.ts": next, "lib/hidden.ts": imported }));
    for (const name of await readdir(join(own.path, "store")))
      await Bun.write(join(own.path, "store", name), "tampered");
    const { exitCode, stdout } = await own.call(["diff", "main"]);
    expect(exitCode).toBe(1);
    expect(stdout).toContain("main.ts  changed; its approved source is not in the store here");
    expect(stdout).toContain(`-${sha256(main)}\n+${sha256(next)}\n`);
    expect(stdout).not.toContain("lib/hidden.ts  ");
  });

  test("a rejected module is exit code 4, and the others are still shown", async () => {
    using server = await ScriptedServer.start(site.certs, {
      "a.ts": { content: "export const execute = () => 1;\n" },
      "b.ts": { content: "export const execute = () => 2;\n" },
    });
    server.lies = {
      verify: (answer) => {
        if (answer.mod === "a.ts") answer.content = "export const execute = () => 'evil';\n";
      },
    };
    const { exitCode, stdout } = await site.call(["--port", String(server.port), "diff"]);
    expect(exitCode).toBe(4);
    expect(stdout).toContain("REJECTED  a.ts\n");
    expect(stdout).not.toContain("'evil'");
    expect(stdout).toContain("+export const execute = () => 2;\n");
  });

  test("nothing in a module reaches the terminal unescaped", async () => {
    const content = `// ${evilArgument}\nexport const execute = () => 1;\n`;
    using server = await ScriptedServer.start(site.certs, { "a.ts": { content } });
    for (const command of [["diff"], ["show", "a"], ["diff", "--stat"]]) {
      // It does not answer what its sandbox is.
      const { output } = await onTerminal([...command, "--connect-timeout", "1s"], server.port);
      expect(strayEscapes(output.replaceAll(/\x1b\[(1|22)m/g, ""))).toEqual([]);
      expect(forgedVerdicts(output)).toEqual([]);
    }
  });
});

describe("that permissions are not enforced is said", () => {
  const warning = /^warning: This server does not enforce the permissions of its modules: (.*)\.$/m;
  const commands = [
    ["show", "main"],
    ["diff", "main"],
    ["approve", "main", "--yes", "--tree", tree],
  ];

  test("of a server whose sandbox is off, by each command that shows code", async () => {
    await using own = await newSite({ "main.ts": main, "lib/hidden.ts": imported }, ["--sandbox", "off"]);
    for (const command of commands) {
      const { stderr } = await own.call(command);
      expect(warning.exec(stderr)?.[1]).toBe("its sandbox is off");
    }
    expect(jsonLines((await own.call(["show", "main", "--json"])).stdout)).toMatchObject([
      { permissions_enforced: false },
    ]);
  });

  test("and not of one that says that it enforces them", async () => {
    using server = await ScriptedServer.start(site.certs, { "main.ts": { content: main } });
    const [enforced] = jsonLines((await site.call(["show", "main", "--json"])).stdout);
    if (enforced?.permissions_enforced === true)
      expect((await site.call(["show", "main"])).stderr).not.toMatch(warning);
    // This one does not answer at all.
    const silent = await site.call([
      "--port",
      String(server.port),
      "--connect-timeout",
      "1s",
      "show",
      "main",
    ]);
    expect(silent.exitCode).toBe(0);
    expect(silent.stderr).toMatch(warning);
  });

  test.skipIf(python === undefined)("of a plain server, which is not asked", async () => {
    await using server = new Running(pythonFixture("plain_server.py", site.certs, "mods"), {
      cwd: site.path,
    });
    const port = /\d+/.exec(await server.line(/\d+/))?.[0] ?? "";
    const { stderr, exitCode } = await site.call(["--port", port, "show", "root"]);
    expect(exitCode).toBe(0);
    expect(warning.exec(stderr)?.[1]).toBe("it speaks only the plain form of the protocol");
  });
});
