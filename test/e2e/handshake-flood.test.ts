import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Identity } from "../../src/identity/identity.ts";
import { clientOf } from "../helpers/keys.ts";
import { LineClient } from "../helpers/line-client.ts";
import { Running } from "../helpers/processes.ts";
import { Relay } from "../helpers/relay.ts";
import { Site } from "../helpers/site.ts";
import { python, pythonFixture } from "../helpers/tools.ts";
import { within } from "../helpers/within.ts";

setDefaultTimeout(30_000);

const attackers = Array.from({ length: 8 }, (_, index) => `127.0.0.${index + 2}`);

/** All of 127.0.0.0/8 is this machine's own on Linux alone. */
describe.skipIf(python === undefined || process.platform !== "linux")("eight addresses, flat out", () => {
  let site: Site;
  let identity: Identity;

  beforeAll(async () => {
    site = await Site.create();
    identity = await clientOf(site);
  });
  afterAll(() => site[Symbol.asyncDispose]());

  /** Resolves when all places for handshakes are taken, and connections are being turned away. */
  async function flood(kind: string): Promise<Running> {
    const server = await site.start(["--port", "0"]);
    const command = pythonFixture("silent_peers.py", String(site.port), kind, "64", ...attackers);
    const flood = new Running(command, { stdin: "pipe" });
    await flood.line("flooding");
    await server.line("too_many_handshakes");
    return flood;
  }

  /** From connecting to the answer to a first request. */
  async function serve(port: number): Promise<number> {
    const startedAt = performance.now();
    using client = await LineClient.connect({ port, identity });
    client.send("sys:ping:1 {}\n");
    await client.line("sys:pong:1");
    return performance.now() - startedAt;
  }

  test.each([
    ["say nothing", "silent"],
    ["send one byte", "byte"],
  ])("that connect and %s: every client from another address is served within a second", async (_, kind) => {
    await using attack = await flood(kind);
    for (let client = 1; client <= 10; client++) {
      expect(await within(5_000, `client ${client}`, serve(site.port))).toBeLessThan(1_000);
    }
    expect(attack.process.exitCode).toBeNull();
  });

  test("that connect and hang up in a loop: the server goes on with its other work", async () => {
    await using _ = await flood("hangup");
    for (let client = 1; client <= 10; client++) {
      expect(await within(5_000, `client ${client}`, serve(site.port))).toBeLessThan(2_000);
    }
  });

  test.each(["silent", "byte"])("(%s): a client 200 ms away is served too", async (kind) => {
    await using attack = await flood(kind);
    using relay = new Relay(site.port, { both: { delayMs: 100 } });
    for (let client = 1; client <= 5; client++) {
      expect(await within(5_000, `client ${client}`, serve(relay.port))).toBeWithin(400, 1_500);
    }
    expect(attack.process.exitCode).toBeNull();
  });
});
