import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { hasProcfs, hostsOf } from "../helpers/procfs.ts";
import { Site } from "../helpers/site.ts";
import { eventually } from "../helpers/within.ts";
import { connectTo } from "../helpers/witness.ts";

const pidModule = "export const execute = () => String(process.pid);\n";

test("a module that does not load is listed at first, and withdrawn after three failures", async () => {
  await using site = await Site.create({
    "late.ts": `throw new Error("not on this machine"); export const execute = () => "";`,
  });
  const server = await site.start();
  using client = await connectTo(site);
  const news: string[] = [];
  client.on("news", ({ kind }) => news.push(kind));
  expect([...client.reports.keys()]).toContain("late.ts");
  await server.line("late.ts does not load: not on this machine", 10_000);
  await eventually("the news", () => news.length === 2);
  expect(news).toEqual(["modunload", "moderror"]);
  expect((await client.sync()).map(({ mod }) => mod)).not.toContain("late.ts");
});

test("with --eager it is never listed, and its twin that loads is", async () => {
  await using site = await Site.create({
    "late.ts": `throw new Error("not on this machine"); export const execute = () => "";`,
    "good.ts": `export const execute = () => "";`,
  });
  await site.start(["--eager"]);
  using client = await connectTo(site);
  expect([...client.reports.keys()]).toContain("good.ts");
  expect([...client.reports.keys()]).not.toContain("late.ts");
});

test.skipIf(!hasProcfs)("no more idle processes stay than --resident says", async () => {
  const names = Array.from({ length: 6 }, (_, at) => `m${at}.ts`);
  await using site = await Site.create(Object.fromEntries(names.map((name) => [name, pidModule])));
  const server = await site.start(["--resident", "2", "--eager"]);
  using client = await connectTo(site);
  const results = await Promise.all(names.map((name) => client.exec(name)));
  expect(new Set(results.map(({ result }) => result)).size).toBe(names.length);
  // Two wait for the next module.
  await eventually("the others to end", () => hostsOf(server.process.pid).length <= 4);
  const states = (await client.stats()).map(({ state }) => state);
  expect(states.filter((state) => state === "running").length).toBe(2);
});

describe("retire", () => {
  test("ends an earlier version, or all of them, and refuses what is none", async () => {
    await using site = await Site.create({ "m.ts": `export const execute = () => "1";` });
    await site.start();
    using client = await connectTo(site);
    const trees: string[] = [];
    for (const version of ["1", "2", "3"]) {
      await site.write("m.ts", `export const execute = () => "${version}";`);
      const { tree } = await eventually(`version ${version}`, async () => {
        await client.sync();
        const answer = await client.exec("m.ts");
        return answer.result === version ? answer : undefined;
      });
      trees.push(tree);
    }
    const [first = "", second = "", third = ""] = trees;
    const one = await site.manage(["retire", `m.ts@${first.slice(0, 8)}`]);
    expect([one.exitCode, one.stdout]).toEqual([0, `Retired m.ts@${first}.\n`]);

    const refused: [argument: string, why: string][] = [
      [`m.ts@${third.slice(0, 12)}`, "it is the current version"],
      [`m.ts@${first}`, "no version with that tree is kept"],
      [`m.ts@${second.slice(0, 7)}`, "at least 8"],
      ["m.ts@", "at least 8"],
      ["n.ts", "there is no such module"],
    ];
    for (const [argument, why] of refused) {
      const { exitCode, stderr } = await site.manage(["retire", argument]);
      expect([argument, exitCode]).toEqual([argument, 2]);
      expect(stderr).toContain(why);
    }

    const all = await site.manage(["retire", "m.ts", "--json"]);
    expect(JSON.parse(all.stdout)).toEqual({ mod: "m.ts", trees: [second] });
    const none = await site.manage(["retire", "m.ts"]);
    expect([none.exitCode, none.stdout]).toEqual([0, "m.ts has no earlier versions.\n"]);
    expect((await client.exec("m.ts")).result).toBe("3");
  });

  test("without a server fails with 2", async () => {
    await using site = await Site.create();
    const { exitCode, stderr } = await site.manage(["retire", "hello.ts"]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("no server is running with the keys in ./certs");
  });
});

test("a server that is only started runs nothing of a module before it listens", async () => {
  await using site = await Site.create();
  const trace = join(site.path, "trace");
  await site.write(
    "slow.ts",
    `import { writeFileSync } from "node:fs";
     export const permissions = { write: [${JSON.stringify(site.path)}] };
     await Bun.sleep(1_500);
     writeFileSync(${JSON.stringify(trace)}, "");
     export const execute = () => "done";`,
  );
  await site.start();
  expect(existsSync(trace)).toBe(false);
  // A call to a module that is still being tried waits for it.
  const { stdout } = await site.call(["exec", "slow.ts"]);
  expect(stdout).toContain("done");
  expect(existsSync(trace)).toBe(true);
});
