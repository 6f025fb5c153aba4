import { describe, expect, test } from "bun:test";
import { rename, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import type { VeripyClient } from "../../src/index.ts";
import { printedBy, statsOf } from "../helpers/module-records.ts";
import { hasProcfs } from "../helpers/procfs.ts";
import { Site } from "../helpers/site.ts";
import { isAlive } from "../helpers/versions.ts";
import { eventually } from "../helpers/within.ts";
import { connectTo, failureOf } from "../helpers/witness.ts";

/** "pid" gives its process; "sleep N" answers after N ms; anything else ends when its signal is aborted. */
const worker = `
export async function execute(args: string, { signal, ref }: any) {
  if (args === "pid") return String(process.pid);
  if (args.startsWith("sleep ")) { await Bun.sleep(Number(args.slice(6))); return args; }
  console.log("began " + args);
  return await new Promise<string>((_, reject) => signal.addEventListener("abort", () => {
    console.log("aborted " + args + ": " + signal.reason.message);
    reject(signal.reason);
  }));
}`;

async function pidOf(client: VeripyClient, mod: string): Promise<number> {
  return Number((await client.exec(mod, "pid")).result);
}

/** A module whose source names its version. "slow" answers after 300 ms, "never" never. */
const versioned = (version: string) => `
export async function execute(args: string) {
  if (args === "slow") await Bun.sleep(300);
  if (args === "never") await new Promise(() => {});
  return "${version}";
}`;

/** Replaces a module and resolves with its new tree when the server has said that it runs. */
async function edit(site: Site, client: VeripyClient, mod: string, content: string): Promise<string> {
  const before = client.reports.get(mod)?.tree;
  await site.write(mod, content);
  return eventually(`another version of ${mod}`, () => {
    const tree = client.reports.get(mod)?.tree;
    return tree !== before && tree;
  });
}

describe("deadlines and cancellation", () => {
  test("at its deadline a call times out at once, and a module that heeds its signal keeps its process", async () => {
    await using site = await Site.create({ "worker.ts": worker });
    const server = await site.start(["--exec-timeout", "400ms"]);
    using client = await connectTo(site);
    const pid = await pidOf(client, "worker");
    const begunAt = performance.now();
    expect(await failureOf(client.exec("worker", "less", { timeoutMs: 150 }))).toBe(
      "timeout: worker.ts did not answer within 150 ms.",
    );
    expect(performance.now() - begunAt).toBeLessThan(400);
    // The server's ceiling holds whatever the request asks for.
    expect(await failureOf(client.exec("worker", "more", { timeoutMs: 60_000 }))).toBe(
      "timeout: worker.ts did not answer within 400 ms.",
    );
    await eventually("both signals", () => printedBy(server, "worker.ts").length === 4);
    expect(printedBy(server, "worker.ts")).toEqual([
      "began less",
      "aborted less: worker.ts did not answer within 150 ms.",
      "began more",
      "aborted more: worker.ts did not answer within 400 ms.",
    ]);
    expect(await pidOf(client, "worker")).toBe(pid);
    expect((await site.call(["exec", "worker", "cli"])).exitCode).toBe(5);
  });

  test("a module that ignores its signal is killed a second later; its other calls may be repeated in a fresh process", async () => {
    await using site = await Site.create({ "worker.ts": worker });
    await site.start();
    using client = await connectTo(site);
    const pid = await pidOf(client, "worker");
    const bystander = failureOf(client.exec("worker", "sleep 20000"));
    const begunAt = performance.now();
    expect(await failureOf(client.exec("worker", "sleep 30000", { timeoutMs: 100 }))).toStartWith("timeout");
    expect(performance.now() - begunAt).toBeLessThan(600);
    expect(isAlive(pid)).toBe(true);
    expect(await bystander).toBe(
      "module_crashed: worker.ts crashed: a call did not end within 1000 ms after its deadline.",
    );
    const tookMs = performance.now() - begunAt;
    expect(tookMs).toBeGreaterThan(1_090);
    expect(tookMs).toBeLessThan(2_000);
    const successor = await pidOf(client, "worker");
    expect(successor).not.toBe(pid);
    await eventually("the end of the old process", () => !isAlive(pid));
  });

  test("a call that its client cancels, or whose client leaves, is aborted in the module", async () => {
    await using site = await Site.create({ "worker.ts": worker });
    const server = await site.start();
    using client = await connectTo(site);
    const pid = await pidOf(client, "worker");
    const controller = new AbortController();
    const call = failureOf(client.exec("worker", "one", { signal: controller.signal }));
    await server.line("began one");
    controller.abort();
    expect(await call).toStartWith("cancelled");
    await server.line("aborted one: The client cancelled the call.");

    using leaver = await connectTo(site);
    void failureOf(leaver.exec("worker", "two"));
    await server.line("began two");
    leaver.close();
    await server.line("aborted two: The client has left.");
    expect(await pidOf(client, "worker")).toBe(pid);
  });

  test("a server that stops aborts calls that do not end in time", async () => {
    await using site = await Site.create({ "worker.ts": worker });
    const server = await site.start(["--shutdown-timeout", "200ms"]);
    using client = await connectTo(site);
    const call = failureOf(client.exec("worker", "one"));
    await server.line("began one");
    server.process.kill("SIGTERM");
    expect(await call).toStartWith("shutting_down");
    expect(await server.ended()).toBe(0);
    expect(printedBy(server, "worker.ts")).toContain("aborted one: The server is stopping.");
  });
});

describe("limits", () => {
  test("beyond the calls in flight and the queue a call is refused as busy, and the others are answered", async () => {
    await using site = await Site.create({ "worker.ts": worker });
    await site.start(["--max-calls", "2", "--max-queue", "3", "--eager"]);
    using client = await connectTo(site);
    await client.verify("worker");
    const calls = Array.from({ length: 7 }, () =>
      client.exec("worker", "sleep 100", { repeat: false }).then(
        ({ result }) => result,
        (error) => `${error.code}: ${error.message}`,
      ),
    );
    const answers = await Promise.all(calls);
    expect(answers.filter((answer) => answer === "sleep 100").length).toBe(5);
    expect(
      answers.filter((answer) => answer.startsWith("busy: worker.ts has 2 calls in flight and 3 waiting"))
        .length,
    ).toBe(2);
  });

  test("a module may tighten its limits, and may not widen them", async () => {
    const big = "export const execute = (args: string) => 'x'.repeat(Number(args));";
    await using site = await Site.create({
      "tight.ts": `export const limits = { maxResultBytes: 10 }; ${big}`,
      "wide.ts": `export const limits = { maxResultBytes: 1e9, execMs: 1e9 }; ${big}`,
      "alone.ts": `export const limits = { maxCallsInFlight: 1, maxCallsQueued: 0, execMs: 150 }; ${worker}`,
      "wrong.ts": `export const limits = { maxResultByte: 10 }; ${big}`,
    });
    const server = await site.start(["--max-result", "1000", "--eager"]);
    using client = await connectTo(site);
    expect((await client.exec("tight", "10")).result).toBe("x".repeat(10));
    expect(await failureOf(client.exec("tight", "11"))).toStartWith("too_large");
    expect((await client.exec("wide", "1000")).result).toBe("x".repeat(1_000));
    expect(await failureOf(client.exec("wide", "1001"))).toStartWith("too_large");
    await client.verify("alone");
    const [first, second] = [
      failureOf(client.exec("alone", "wait")),
      failureOf(client.exec("alone", "wait", { repeat: false })),
    ];
    expect(await second).toStartWith("busy");
    expect(await first).toBe("timeout: alone.ts did not answer within 150 ms.");
    expect(await server.line("wrong.ts cannot be loaded")).toContain("maxResultByte");
  });
});

describe("versions", () => {
  test("calls in flight end on the version they began on, and a retained version can be called by its tree", async () => {
    await using site = await Site.create({ "v.ts": versioned("one") });
    await site.start(["--retain", "1"]);
    using client = await connectTo(site);
    const one = (await client.exec("v")).tree;
    const inFlight = client.exec("v", "slow");
    const two = await edit(site, client, "v.ts", versioned("two"));
    expect(await client.exec("v")).toMatchObject({ result: "two", tree: two });
    expect(await inFlight).toMatchObject({ result: "one", tree: one });
    expect(await client.exec("v", "", { tree: one })).toMatchObject({ result: "one", tree: one });

    const three = await edit(site, client, "v.ts", versioned("three"));
    expect(await client.exec("v", "", { tree: two })).toMatchObject({ result: "two", tree: two });
    expect(await failureOf(client.exec("v", "", { tree: one }))).toStartWith("version_mismatch");
    expect(await client.exec("v")).toMatchObject({ result: "three", tree: three });
  });

  test("a module runs its current code, whatever was there when its process was started", async () => {
    await using site = await Site.create({ ".1/a.ts": versioned("1"), ".2/a.ts": versioned("2") });
    await site.start();
    using client = await connectTo(site);
    const at = (name: string) => join(site.path, "mods", name);
    const answers = (mod: string, result: string) =>
      eventually(`${mod} answering ${result}`, async () => {
        const answer = await client.exec(mod).catch(() => undefined);
        return answer?.result === result;
      });
    const linkTo = async (target: string) => {
      await symlink(target, at(".new"));
      await rename(at(".new"), at("a.ts"));
    };
    await linkTo(".1/a.ts");
    await answers("a.ts", "1");
    await linkTo(".2/a.ts");
    await answers("a.ts", "2");
    await site.write(".new", versioned("3"));
    await rename(at(".new"), at("a.ts"));
    await answers("a.ts", "3");
    await linkTo(".1/a.ts");
    await answers("a.ts", "1");
    await site.write("lib/x.ts", versioned("4"));
    await site.write("b.ts", `export { execute } from "./lib/x.ts";`);
    await answers("b.ts", "4");
  });

  test("with --retain 0 only the current version runs", async () => {
    await using site = await Site.create({ "v.ts": versioned("one") });
    await site.start(["--retain", "0"]);
    using client = await connectTo(site);
    const one = (await client.exec("v")).tree;
    const inFlight = client.exec("v", "slow");
    await edit(site, client, "v.ts", versioned("two"));
    expect(await failureOf(client.exec("v", "", { tree: one }))).toStartWith("version_mismatch");
    expect(await inFlight).toMatchObject({ result: "one", tree: one });
  });

  test("a replaced version's calls have the drain timeout, and its process ends", async () => {
    await using site = await Site.create({
      "v.ts": `${versioned("one")}\nconsole.log("pid " + process.pid);`,
    });
    const server = await site.start(["--retain", "0", "--drain-timeout", "300ms", "--kill-grace", "100ms"]);
    using client = await connectTo(site);
    await server.line("pid ");
    const pid = Number(printedBy(server, "v.ts")[0]?.slice(4));
    const never = failureOf(client.exec("v", "never"));
    await client.exec("v", "slow");
    const begunAt = performance.now();
    await edit(site, client, "v.ts", versioned("two"));
    expect(isAlive(pid)).toBe(true);
    expect(await never).toBe("shutting_down: v.ts is being stopped.");
    expect(performance.now() - begunAt).toBeGreaterThan(290);
    await eventually("the end of the old process", () => !isAlive(pid), 1_000);
    expect((await client.exec("v")).result).toBe("two");
  });

  test("a broken edit leaves the last good version running, and says what is wrong", async () => {
    await using site = await Site.create({ "v.ts": versioned("one") });
    await site.start();
    using client = await connectTo(site);
    const errors: string[] = [];
    client.on("news", (news) => news.kind === "moderror" && errors.push(news.error));
    await site.write("v.ts", "export const execute = (");
    await eventually("a moderror", () => errors.length > 0);
    expect(errors[0]).toStartWith("v.ts");
    expect((await client.exec("v")).result).toBe("one");
  });
});

describe.skipIf(!hasProcfs)("supervision", () => {
  test("an idle module's process is stopped, and the next call starts it again", async () => {
    await using site = await Site.create({ "worker.ts": worker });
    await site.start(["--idle-stop", "300ms"]);
    using client = await connectTo(site);
    const pid = await pidOf(client, "worker");
    await eventually("the end of the idle process", () => !isAlive(pid));
    expect(await statsOf(site, "worker.ts")).toMatchObject({ state: "idle", calls: 1, restarts: 0 });
    const next = await pidOf(client, "worker");
    expect(next).not.toBe(pid);
    const stats = (await client.stats()).find(({ mod }) => mod === "worker.ts");
    expect(stats).toMatchObject({ state: "running", pid: next, restarts: 1 });
    // A call that lasts longer than the idle time is no idling.
    expect((await client.exec("worker", "sleep 700")).result).toBe("sleep 700");
    expect(await pidOf(client, "worker")).toBe(next);
  });

  test("a module that dies at every start backs off, is reported as failing, and recovers", async () => {
    await using site = await Site.create();
    await site.write(
      "fickle.ts",
      `import { existsSync } from "node:fs";
        if (existsSync(${JSON.stringify(join(site.path, "mods/die"))})) { console.log("dying"); process.exit(9); }
        export function execute(args: string) { if (args === "die") process.exit(9); return "alive"; }`,
    );
    const server = await site.start();
    using client = await connectTo(site);
    expect((await client.exec("fickle")).result).toBe("alive");
    await site.write("die", "");
    expect(await failureOf(client.exec("fickle", "die"))).toStartWith("module_crashed");
    for (let call = 0; call < 20; call++) {
      expect(await failureOf(client.exec("fickle"))).toMatch(
        /^module_crashed: fickle.ts does not start: .*exited with code 9.* in \d+ s\.$/,
      );
    }
    // One attempt, whatever the number of calls.
    expect(printedBy(server, "fickle.ts").filter((text) => text === "dying")).toEqual(["dying"]);
    expect(await statsOf(site, "fickle.ts")).toMatchObject({ state: "failing" });
    await rm(join(site.path, "mods/die"));
    const recovered = () =>
      client.exec("fickle").then(
        ({ result }) => result,
        () => undefined,
      );
    expect(await eventually("its recovery", recovered)).toBe("alive");
    expect(await statsOf(site, "fickle.ts")).toMatchObject({ state: "running" });
  });

  test("'modules' tells version, process, memory, calls, failures and run times, as text and as JSON", async () => {
    await using site = await Site.create({ "worker.ts": worker });
    await site.start();
    using client = await connectTo(site);
    const pid = await pidOf(client, "worker");
    for (let call = 0; call < 20; call++) await client.exec("worker", "sleep 5");
    expect(await failureOf(client.exec("worker", "x", { timeoutMs: 50 }))).toStartWith("timeout");
    const stats = await statsOf(site, "worker.ts");
    expect(stats).toMatchObject({
      tree: client.reports.get("worker.ts")?.tree,
      state: "running",
      pid,
      calls: 22,
      failures: 1,
      restarts: 0,
      in_flight: 0,
    });
    expect(stats.memory_bytes).toBeGreaterThan(1024 ** 2);
    expect(stats.p50_ms).toBeGreaterThan(4);
    expect(stats.p50_ms).toBeLessThan(40);
    expect(stats.p99_ms).toBeGreaterThan(40);
    expect(await client.stats()).toEqual([
      expect.objectContaining({ mod: "hello.ts" }),
      expect.objectContaining({ mod: "worker.ts", pid }),
    ]);
    const { stdout } = await site.call(["modules"]);
    expect(stdout).toMatch(
      new RegExp(
        `^worker\\.ts +[0-9a-f]{16} +not approved +running +${pid} +[\\d.]+ MiB +22 +1 +0 +[\\d.]+ ms +[\\d.]+ ms$`,
        "m",
      ),
    );
  });
});
