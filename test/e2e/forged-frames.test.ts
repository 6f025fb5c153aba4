import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { dial, request } from "../helpers/frames.ts";
import type { LineClient } from "../helpers/line-client.ts";
import type { Running } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { eventually } from "../helpers/within.ts";
import { connectTo, failureOf, Witness, witnessModule } from "../helpers/witness.ts";

setDefaultTimeout(30_000);

// What a module's process says past the library must not reach other clients, nor keep the server from serving them.

const say = `
import { writeSync } from "node:fs";
async function say(text: string) {
  const bytes = Buffer.from(text);
  for (let from = 0; from < bytes.length; ) {
    try { from += writeSync(3, bytes, from); } catch { await Bun.sleep(1); }
  }
}
`;
/** Says its arguments over and over, for as long as it may. */
const repeater = `${say}
export async function execute(args: string) {
  if (args === "") return "ok";
  const text = (args + "\\n").repeat(1_000);
  for (;;) await say(text);
}`;
const good = "export const execute = (args: string) => args;\n";
/** Reports progress all the time, as often and as long as the library lets it, and ends when it is told to. */
const reporter = `
export async function execute(args: string, { progress, signal }: any) {
  while (!signal.aborted && args !== "") { progress(0.5, "\\0".repeat(1024)); await Bun.sleep(20); }
  return "done";
}`;

let site: Site;
let server: Running;
let client: LineClient;

beforeAll(async () => {
  site = await Site.create({
    "repeats.ts": repeater,
    "reports.ts": reporter,
    "big.ts": 'export const execute = (args: string) => "x".repeat(Number(args));\n',
    "edited.ts": good,
    "witness.ts": witnessModule,
  });
  server = await site.start(["--max-queued", "8MiB"]);
  client = await dial(site.port, site.certs);
});
afterAll(async () => {
  client?.terminate();
  await site[Symbol.asyncDispose]();
});

describe("a forged report of a module", () => {
  test("that nests 100,000 deep is a failure to load: the last good version goes on, and every sync is answered", async () => {
    const before = await request(client, "mod:sync", {});
    await site.write(
      "edited.ts",
      `${say}
      await say('host:ready:0 {"input":' + '{"a":'.repeat(100_000) + "1" + "}".repeat(100_001) + "\\n");
      ${good}`,
    );
    const told = await client.line(/^moderror:.*"mod":"edited\.ts"/);
    expect(told).toContain("edited.ts does not load: it broke the protocol between server and module host");
    const after = await request(client, "mod:sync", {}, "2");
    expect(after.payload).toEqual(before.payload);
    const answer = await request(client, "mod:exec", { mod: "edited.ts", args: "still here" }, "3");
    expect(answer.payload.result).toBe("still here");
  });

  test("that nests so deeply in a module that never loaded does not affect the others", async () => {
    const forgery = `${say}
      await say('host:ready:0 {"input":{"a":' + "[".repeat(50_000) + "]".repeat(50_000) + "}}\\n");
      export const execute = () => "";`;
    await site.write("forged.ts", forgery);
    await client.line(/^moderror:.*"mod":"forged\.ts"/);
    const { payload } = await request(client, "mod:sync", {}, "4");
    expect((payload.modules as { mod: string }[]).map(({ mod }) => mod)).not.toContain("forged.ts");
    await request(client, "mod:verify", { mod: "edited.ts" }, "5");
    expect(client.isClosed).toBe(false);
  });
});

describe("a module that floods its control channel with", () => {
  test.each([
    ["failed", 'host:failed:0 {"error":"x"}'],
    ["fatal", 'host:fatal:0 {"error":"x"}'],
    ["ready", "host:ready:0 {}"],
    ["progress", 'host:progress:0 {"message":"x"}'],
    ["log", 'host:log:- {"level":"debug","text":"x"}'],
    ["aborting", "host:aborting:0 {}"],
  ])("'%s' is ended at once, and no other call waits for it", async (_, frame) => {
    await using witness = await Witness.of(site);
    using caller = await connectTo(site);
    await caller.exec("repeats.ts", "");
    await eventually("a warm witness", () => witness.calls > 50);
    witness.takeWorstMs();
    for (let round = 0; round < 3; round++) {
      const begun = performance.now();
      expect(await failureOf(caller.exec("repeats.ts", frame, { timeoutMs: 5_000 }))).toStartWith(
        "module_crashed",
      );
      expect(performance.now() - begun).toBeLessThan(3_000);
    }
    expect(witness.takeWorstMs()).toBeLessThan(1_000);
  });
});

test("progress does not disconnect a slow reader: it is dropped, and the answers arrive", async () => {
  using slow = await dial(site.port, site.certs);
  await request(slow, "sys:ping", {});
  const refs = Array.from({ length: 50 }, (_, index) => `p${index}`);
  for (const ref of refs) slow.send(`mod:exec:${ref} ${JSON.stringify({ mod: "reports.ts", args: "on" })}\n`);
  await slow.line("mod:exec_progress:p49");
  slow.pause();
  // More than the system's buffers take, so that the server notices, and less than may be queued.
  for (let call = 0; call < 9; call++)
    slow.send(`mod:exec:b${call} ${JSON.stringify({ mod: "big.ts", args: "800000" })}\n`);
  // Fifty reports of a kibibyte each, six as JSON, in every 100 ms: 12 MB in all.
  const until = performance.now() + 4_000;
  while (performance.now() < until) {
    expect(slow.isClosed).toBe(false);
    await Bun.sleep(50);
  }
  slow.resume();
  await slow.line("mod:exec_resp:b8");
  slow.send(refs.map((ref) => `mod:cancel:${ref} {}\n`).join(""));
  for (const ref of refs) await slow.line(`mod:exec_resp:${ref}`);
  expect(server.stderr.filter((line) => line.includes("does not read"))).toEqual([]);
});
