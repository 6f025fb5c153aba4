import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Identity } from "../../src/identity/identity.ts";
import { clientOf } from "../helpers/keys.ts";
import { LineClient } from "../helpers/line-client.ts";
import type { Running } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { testModules } from "../helpers/test-modules.ts";
import { rssOf } from "../helpers/vitals.ts";
import { eventually, within } from "../helpers/within.ts";

const mebibyte = 1024 ** 2;

setDefaultTimeout(30_000);

let site: Site;
let identity: Identity;

beforeAll(async () => {
  site = await Site.create({
    ...testModules,
    "long.ts": `// ${"x".repeat(900_000)}\nexport const execute = (args: string) => args;\n`,
    "one.ts": `export const limits = { maxCallsInFlight: 1, maxCallsQueued: 0 };
export const execute = (args: string) => {
  if (args !== "0") console.log("one.ts is occupied");
  return Bun.sleep(Number(args)).then(() => args);
};
`,
  });
  identity = await clientOf(site);
}, 30_000);
afterAll(() => site[Symbol.asyncDispose]());

const start = (...flags: string[]): Promise<Running> => site.start(["--port", "0", ...flags]);

async function served(keepsLines = true): Promise<LineClient> {
  const client = await LineClient.connect({ port: site.port, identity, keepsLines });
  client.send("sys:ping:first {}\n");
  await eventually("an answer", () => client.received > 0);
  return client;
}

const exec = (ref: string, mod: string, args: string) => `mod:exec:${ref} ${JSON.stringify({ mod, args })}\n`;

const answersOf = (client: LineClient) =>
  client.lines.filter((line) => line.startsWith("mod:exec_resp:")).map((line) => line.split(/[: ]/)[2] ?? "");

/** Resolves when a value has not changed for 200 ms. */
async function steady(what: string, value: () => number): Promise<void> {
  let last = Number.NaN;
  let since = 0;
  await eventually(what, () => {
    const now = value();
    if (now !== last) since = performance.now();
    last = now;
    return performance.now() - since > 200;
  });
}

describe("requests in flight", () => {
  test("past the limit reading pauses: no more run at once, none is dropped, all are answered", async () => {
    await using server = await start("--max-requests", "3");
    using client = await served();
    const refs = Array.from({ length: 12 }, (_, index) => `w${index}`);
    client.send(refs.map((ref) => exec(ref, "wait.ts", "150")).join(""));
    const waiting = () => server.stderr.filter((line) => / waits"/.test(line)).length;
    await eventually("three calls to begin", () => waiting() >= 3);
    expect(waiting()).toBe(3);
    expect(answersOf(client)).toEqual([]);
    await eventually("all answers", () => answersOf(client).length === refs.length);
    expect(answersOf(client).sort()).toEqual(refs.sort());
  });

  test("a client at its limit, not past it, is still read: it can cancel, ping and leave", async () => {
    await using server = await start("--max-requests", "2");
    using client = await served();
    client.send(exec("a", "wait.ts", "60000") + exec("b", "wait.ts", "60000"));
    await server.line("b waits");
    client.send("mod:cancel:a {}\nsys:ping:still {}\n");
    await client.line("mod:exec_resp:a");
    await client.line("sys:pong:still");
    client.end();
    await server.line("b aborted", 3_000);
  });

  test("what is sent meanwhile stays with the client, not in the server's memory", async () => {
    await using server = await start("--max-requests", "1", "--max-line", "64KiB");
    using client = await served();
    client.send(exec("slow", "wait.ts", "6000") + exec("next", "wait.ts", "0"));
    await server.line("slow waits");
    const before = rssOf(server.process.pid);
    const pings = Array.from(
      { length: 1_000 },
      (_, index) => `sys:ping:p${index} {"x":"${"y".repeat(60_000)}"}\n`,
    );
    client.send(pings.join(""));
    await steady("the server to stop reading", () => client.unsentBytes);
    expect(client.unsentBytes).toBeGreaterThan(40 * mebibyte);
    expect(rssOf(server.process.pid) - before).toBeLessThan(16 * mebibyte);
    await client.line("sys:pong:p999", 15_000);
    expect(client.lines.filter((line) => line.startsWith("sys:pong:p"))).toHaveLength(1_000);
  });

  test("a flood that waits behind one slow call is worked off in order, however it ends", async () => {
    await using server = await start("--max-requests", "1");
    using other = await served();
    other.send(exec("occupied", "one.ts", "3000"));
    await server.line("one.ts is occupied");
    using client = await served();
    const refs = Array.from({ length: 3_000 }, (_, index) => `b${index}`);
    client.send(exec("slow", "wait.ts", "100") + refs.map((ref) => exec(ref, "one.ts", "0")).join(""));
    await eventually("all answers", () => answersOf(client).length > refs.length);
    expect(answersOf(client)).toEqual(["slow", ...refs]);
  });
});

describe("queued output", () => {
  test("a client that asks for much and reads nothing costs a few MB, and others are served", async () => {
    await using server = await start();
    using client = await served(false);
    using other = await served();
    const before = rssOf(server.process.pid);
    client.pause();
    client.send('mod:verify:1 {"mod":"long.ts"}\n'.repeat(3_000));
    for (let ping = 0; ping < 20; ping++) {
      other.send(`sys:ping:${ping} {}\n`);
      await other.line(`sys:pong:${ping}`);
      await Bun.sleep(20);
      expect(rssOf(server.process.pid) - before).toBeLessThan(24 * mebibyte);
    }
  });

  test("answers past the limit close a client that does not read, with a log line", async () => {
    await using server = await start("--max-queued", "1MiB");
    using client = await served(false);
    client.pause();
    for (let call = 0; call < 20; call++) client.send(exec(`b${call}`, "big.ts", "900000"));
    await server.line("The peer does not read");
    client.resume();
    await within(3_000, "the end", client.closed);
    using _again = await served();
  });

  test("a stream waits for its reader", async () => {
    await using server = await start("--max-queued", "1MiB");
    using client = await served();
    client.pause();
    client.send(exec("s", "stream.ts", "1000 50000"));
    const before = rssOf(server.process.pid);
    await Bun.sleep(500);
    expect(rssOf(server.process.pid) - before).toBeLessThan(24 * mebibyte);
    expect(client.isClosed).toBe(false);
    client.resume();
    await client.line("mod:exec_resp:s", 10_000);
    expect(client.lines.filter((line) => line.startsWith("mod:exec_part:s"))).toHaveLength(1_000);
  });

  test("a client that has stopped reading for good is closed when its idle time is over", async () => {
    await using server = await start("--max-queued", "8MiB", "--idle-timeout", "600ms");
    using client = await served(false);
    client.pause();
    for (let call = 0; call < 8; call++) client.send(exec(`b${call}`, "big.ts", "900000"));
    await server.line("Disconnected", 8_000);
  });
});

test("a slow client is told once to sync again instead of each of many changes", async () => {
  await using server = await start("--max-queued", "8MiB", "--metrics", "0");
  using client = await served();
  client.pause();
  for (let call = 0; call < 9; call++) client.send(exec(`b${call}`, "big.ts", "900000"));
  // Far more than the mark, so that the system's buffers are full as well.
  await eventually("a queue", async () => (await queuedBytesOf(server)) > 5 * mebibyte);
  for (let version = 1; version <= 5; version++) {
    await site.write("changing.ts", `export const execute = () => "version ${version}";\n`);
    await eventually("the change", () => loads(server) >= version);
  }
  client.resume();
  await client.line("sys:resync:");
  client.send("sys:ping:end {}\n");
  await client.line("sys:pong:end");
  expect(client.lines.filter((line) => line.startsWith("sys:resync:"))).toHaveLength(1);
  expect(client.lines.filter((line) => /^mod(load|reload):/.test(line))).toEqual([]);
  expect(answersOf(client)).toHaveLength(9);
});

/** What clients have not taken yet, as a server with `--metrics 0` tells it. */
async function queuedBytesOf(server: Running): Promise<number> {
  const url = /http:\/\/[^/]+/.exec(await server.line("Metrics are at"))?.[0];
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(/^veripy_queued_bytes (\S+)$/m.exec(text)?.[1]);
}

function loads(server: Running): number {
  return server.stderr.filter((line) => /"message":"mod(load|reload): changing\.ts/.test(line)).length;
}
