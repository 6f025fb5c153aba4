import { afterAll, beforeAll, expect, test } from "bun:test";
import { connect, type VerifyOutcome, type WatchEvent, watchModules } from "../../src/index.ts";
import { run } from "../helpers/processes.ts";
import { Relay } from "../helpers/relay.ts";
import { Site } from "../helpers/site.ts";
import { Terminal } from "../helpers/terminal.ts";
import { eventually } from "../helpers/within.ts";

// A slow link between client and server: what is asked for arrives late, but arrives.

const bulk = 60;
let site: Site;

const module_ = (name: string, version = 1) =>
  `// ${"x".repeat(12_000)}\nexport const execute = () => "${name} ${version}";\n`;

beforeAll(async () => {
  site = await Site.create(
    Object.fromEntries(Array.from({ length: bulk }, (_, index) => [`m${index}.ts`, module_(`m${index}`)])),
  );
  await site.start([], undefined, 30_000);
}, 60_000);
afterAll(() => site[Symbol.asyncDispose]());

test("modules that take longer than the deadline to arrive are all verified, each as it comes", async () => {
  // 60 modules of 12 KB are 720 KB: six seconds at this rate, with a deadline of one.
  using relay = new Relay(site.port, { down: { bytesPerSecond: 125_000 } });
  const command = ["--port", String(relay.port), "--connect-timeout", "1s", "verify", "--json"];
  const { exitCode, stdout } = await run([site.client, ...command], { cwd: site.path });
  expect(exitCode).toBe(0);
  const lines = stdout.trim().split("\n");
  expect(lines).toHaveLength(bulk + 1);
  expect(lines.every((line) => line.includes('"verified":true'))).toBe(true);
}, 30_000);

test("a terminal shows how far the verification has come, and the line goes with the last verdict", async () => {
  using relay = new Relay(site.port, { down: { bytesPerSecond: 250_000 } });
  await using terminal = new Terminal(
    [site.client, "--port", String(relay.port), "--certs", site.certs, "verify"],
    site.path,
  );
  await terminal.shows(/verified \d+ of 61/);
  expect(await terminal.ended()).toBe(0);
  expect(terminal.output.trimEnd().split("\r\n").at(-1)).not.toContain("of 61");
}, 30_000);

test("a link on which nothing arrives is given up at the deadline", async () => {
  using relay = new Relay(site.port);
  using client = await connect({
    host: "127.0.0.1",
    port: relay.port,
    certsDir: site.certs,
    timeoutMs: 300,
  });
  relay.blackHole(true);
  const startedAt = performance.now();
  const outcomes: VerifyOutcome[] = [];
  const all = client.verifyAll({ mods: ["m1.ts"], onOutcome: (outcome) => outcomes.push(outcome) });
  await expect(all).rejects.toMatchObject({ code: "timeout" });
  expect(outcomes).toMatchObject([{ mod: "m1.ts", error: { code: "timeout" } }]);
  expect(performance.now() - startedAt).toBeLessThan(5_000);
});

test("a module that can't be fetched does not keep the others from being verified", async () => {
  using client = await connect({ host: "127.0.0.1", port: site.port, certsDir: site.certs });
  const outcomes: VerifyOutcome[] = [];
  const mods = ["m1.ts", "nosuch.ts", "m2.ts"];
  const all = client.verifyAll({ mods, onOutcome: (outcome) => outcomes.push(outcome) });
  await expect(all).rejects.toMatchObject({ code: "not_found" });
  expect(outcomes.filter((outcome) => "verdict" in outcome)).toHaveLength(2);
});

test("a verification that a break has cut off is made after the reconnect", async () => {
  using relay = new Relay(site.port);
  using client = await connect({
    host: "127.0.0.1",
    port: relay.port,
    certsDir: site.certs,
    reconnect: true,
  });
  const events: WatchEvent[] = [];
  await watchModules(client, (event) => events.push(event));
  client.once("news", () => {
    // The broadcast has come; the answer to the request that follows does not.
    relay.down.set({ isHole: true });
    setTimeout(() => {
      relay.cutAll();
      relay.down.set({ isHole: false });
    }, 50);
  });
  await site.write("m7.ts", module_("m7", 2));
  await eventually("the reconnect", () => events.some(({ event }) => event === "reconnected"), 15_000);
  const verdict = await eventually("the verdict", () =>
    events.find(
      (event) => event.event === "verdict" && event.cause === "reconnected" && event.verdict.mod === "m7.ts",
    ),
  );
  expect(verdict).toMatchObject({ verdict: { verified: true } });
}, 30_000);

test("a verification that times out is tried again while the connection stands", async () => {
  using relay = new Relay(site.port);
  using client = await connect({
    host: "127.0.0.1",
    port: relay.port,
    certsDir: site.certs,
    timeoutMs: 300,
    reconnect: true,
  });
  const events: WatchEvent[] = [];
  await watchModules(client, (event) => events.push(event));
  client.once("news", () => relay.up.set({ isHole: true }));
  await site.write("m8.ts", module_("m8", 2));
  const failed = await eventually("the failure", () =>
    events.find((event) => event.event === "unverified" && event.mod === "m8.ts"),
  );
  expect(failed).toMatchObject({ error: { code: "timeout" }, retryMs: 1_000 });
  events.length = 0;
  relay.up.set({ isHole: false });
  const verdict = await eventually("the verdict", () =>
    events.find((event) => event.event === "verdict" && event.verdict.mod === "m8.ts"),
  );
  expect(verdict).toMatchObject({ verdict: { verified: true } });
}, 30_000);
