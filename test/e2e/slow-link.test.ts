import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Identity } from "../../src/identity/identity.ts";
import { clientOf } from "../helpers/keys.ts";
import { LineClient } from "../helpers/line-client.ts";
import { Relay } from "../helpers/relay.ts";
import { Site } from "../helpers/site.ts";
import { testModules } from "../helpers/test-modules.ts";
import { eventually } from "../helpers/within.ts";

setDefaultTimeout(30_000);

const mebibyte = 1024 ** 2;
const exec = (ref: string, mod: string, args: string) => `mod:exec:${ref} ${JSON.stringify({ mod, args })}\n`;

describe("over a link of 1 MiB a second", () => {
  let site: Site;
  let identity: Identity;
  let relay: Relay;

  beforeAll(async () => {
    site = await Site.create({
      ...testModules,
      "long.ts": `// ${"x".repeat(900_000)}\nexport const execute = (args: string) => args;\n`,
    });
    identity = await clientOf(site);
    await site.start();
    relay = new Relay(site.port, { down: { bytesPerSecond: mebibyte, maxQueuedBytes: 64 * 1024 } });
  });
  afterAll(async () => {
    relay[Symbol.dispose]();
    await site[Symbol.asyncDispose]();
  });

  async function connected(): Promise<LineClient> {
    const client = await LineClient.connect({ port: relay.port, identity });
    client.send(`sys:ping:first {}\n${exec("warm", "echo.ts", "up")}`);
    await client.line("mod:exec_resp:warm");
    return client;
  }

  /** The longest time that one of `count` pairs of a ping and a small call took, all while `isBusy`. */
  async function longestWait(client: LineClient, count: number, isBusy: () => boolean): Promise<number> {
    let longest = 0;
    for (let number = 1; number <= count; number++) {
      expect(isBusy()).toBe(true);
      const startedAt = performance.now();
      client.send(`sys:ping:p${number} {}\n${exec(`e${number}`, "echo.ts", "small")}`);
      await client.line(`sys:pong:p${number} `, 10_000);
      await client.line(`mod:exec_resp:e${number} `, 10_000);
      longest = Math.max(longest, performance.now() - startedAt);
    }
    return longest;
  }

  const has = (client: LineClient, start: string) => client.lines.some((line) => line.startsWith(start));
  const partsOf = (client: LineClient, ref: string) =>
    client.lines
      .filter((line) => line.startsWith(`mod:exec_part:${ref} `))
      .map((line) => (JSON.parse(line.slice(line.indexOf("{"))) as { seq: number }).seq);

  test("small answers arrive within a second during two streams of 256 KiB parts, and each stream stays in order", async () => {
    using client = await connected();
    client.send(exec("s", "stream.ts", "16 262144") + exec("t", "stream.ts", "16 262144"));
    await client.line("mod:exec_part:s ", 10_000);
    const isBusy = () => !has(client, "mod:exec_resp:s") || !has(client, "mod:exec_resp:t");
    expect(await longestWait(client, 5, isBusy)).toBeLessThan(1_000);
    await client.line("mod:exec_resp:t", 20_000);
    await client.line("mod:exec_resp:s", 20_000);
    const all = Array.from({ length: 16 }, (_, seq) => seq);
    expect([partsOf(client, "s"), partsOf(client, "t")]).toEqual([all, all]);
    for (const ref of ["s", "t"]) {
      const own = client.lines.filter((line) => line.includes(`:${ref} `));
      expect(own.at(-1)).toStartWith(`mod:exec_resp:${ref} `);
    }
    // Neither stream waited for the end of the other.
    const first = (ref: string) => client.lines.findIndex((line) => line.startsWith(`mod:exec_part:${ref} `));
    expect(first("t")).toBeLessThan(client.lines.findIndex((line) => line.startsWith("mod:exec_resp:s ")));
  });

  test("small answers do not wait behind several results of a mebibyte", async () => {
    using client = await connected();
    client.send([1, 2, 3, 4].map((call) => exec(`b${call}`, "big.ts", "1000000")).join(""));
    await eventually("the first bytes", () => client.received > 100_000);
    const isBusy = () => !has(client, "mod:exec_resp:b4");
    // The result that is being sent can't be split, and takes a second. All four would take four.
    expect(await longestWait(client, 1, isBusy)).toBeLessThan(2_000);
    expect(isBusy()).toBe(true);
    for (const call of [1, 2, 3, 4]) await client.line(`mod:exec_resp:b${call}`, 10_000);
  });

  test("small answers do not wait behind the sources of modules, which arrive in the order of their requests", async () => {
    using client = await connected();
    const refs = Array.from({ length: 5 }, (_, index) => `v${index}`);
    client.send(refs.map((ref) => `mod:verify:${ref} {"mod":"long.ts"}\n`).join(""));
    await eventually("the first bytes", () => client.received > 100_000);
    expect(await longestWait(client, 2, () => !has(client, "mod:verify_resp:v4"))).toBeLessThan(2_000);
    await client.line("mod:verify_resp:v4", 10_000);
    const answers = client.lines.filter((line) => line.startsWith("mod:verify_resp:"));
    expect(answers.map((line) => line.split(/[: ]/)[2])).toEqual(refs);
  });
});
