import { expect, setDefaultTimeout, test } from "bun:test";
import { run } from "../helpers/processes.ts";
import { hasProcfs, hostsOf } from "../helpers/procfs.ts";
import { Site } from "../helpers/site.ts";
import { eventually } from "../helpers/within.ts";

setDefaultTimeout(30_000);

const shown = async (pid: number, column: "args" | "comm") =>
  (await run(["ps", "-o", `${column}=`, "-p", String(pid)])).stdout.trimEnd();

/** The command lines of a server's module hosts, as `ps` shows them, sorted. */
const commands = async (server: number) =>
  (await Promise.all(hostsOf(server).map((pid) => shown(pid, "args")))).sort();

test.skipIf(!hasProcfs)("'ps' shows the module and the version that a process runs", async () => {
  const long = `${"l".repeat(200)}.ts`;
  await using site = await Site.create({
    [long]: "export const execute = () => process.argv.join(' ');\n",
    "evil\x1b[31m.ts": "export const execute = () => '';\n",
  });
  const server = await site.start(["--eager"]);
  const { pid } = server.process;
  const trees: Record<string, string> = {};
  for (const line of (await site.call(["list", "--json"])).stdout.trim().split("\n")) {
    const { mod, tree } = JSON.parse(line) as { mod: string; tree: string };
    trees[mod] = tree.slice(0, 16);
  }
  const prefix = `veripy-server module-host ${pid} socket`;
  expect(await commands(pid)).toEqual([
    `${prefix} evil\\u001b[31m.ts ${trees["evil\x1b[31m.ts"]}`,
    `${prefix} hello.ts ${trees["hello.ts"]}`,
    `${prefix} ${long} ${trees[long]}`,
  ]);
  // The module itself still sees the original arguments.
  expect((await site.call(["exec", long])).stdout).toContain("module-host");
});

test.skipIf(!hasProcfs)(
  "'ps' shows a process that waits for a module as 'spare', and then as its module",
  async () => {
    await using site = await Site.create();
    const server = await site.start();
    const { pid } = server.process;
    await site.write("edited.ts", "export const execute = () => 'one';\n");
    await server.line("modload: edited.ts");
    // Their arguments are gone for a moment while they start anew in their sandbox.
    const spares = await eventually("two spare processes", async () => {
      const names = await Promise.all(
        hostsOf(pid).map(async (host) => ({ host, args: await shown(host, "args") })),
      );
      const found = names.filter(({ args }) => / spare *$/.test(args)).map(({ host }) => host);
      return found.length === 2 && found;
    });
    await site.write("edited.ts", "export const execute = () => 'two';\n");
    await server.line("modreload: edited.ts");
    const shownNow = async (column: "args" | "comm") =>
      Promise.all(spares.map((spare) => shown(spare, column)));
    expect(await shownNow("args")).toContainEqual(expect.stringMatching(/ edited\.ts [0-9a-f]{16}$/));
    expect(await shownNow("comm")).toContain("edited.ts");
  },
);
