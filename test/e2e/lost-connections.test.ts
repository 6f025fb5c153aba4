import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Identity } from "../../src/identity/identity.ts";
import { newIdentity, trust } from "../helpers/keys.ts";
import { LineClient } from "../helpers/line-client.ts";
import type { Running } from "../helpers/processes.ts";
import { Relay } from "../helpers/relay.ts";
import { Site } from "../helpers/site.ts";
import { testModules } from "../helpers/test-modules.ts";
import { eventually, within } from "../helpers/within.ts";

setDefaultTimeout(30_000);

let site: Site;
let server: Running;

beforeAll(async () => {
  site = await Site.create(testModules);
  server = await site.start();
});
afterAll(() => site[Symbol.asyncDispose]());

/** A trusted key that may have so many connections. */
async function keyFor(connections: number): Promise<Identity> {
  const identity = await newIdentity();
  const before = server.stderr.length;
  await trust(site, { fingerprint: identity.fingerprint, max_connections: connections });
  await eventually("the change of trust", () =>
    server.stderr.slice(before).some((line) => line.includes("Trusted keys changed")),
  );
  return identity;
}

async function served(identity: Identity, port = site.port): Promise<LineClient> {
  const client = await LineClient.connect({ port, identity });
  client.send("sys:ping:first {}\n");
  await client.line("sys:pong:first");
  return client;
}

/** Answers each ping of the server, as a client does that knows pings. */
function answerPings(client: LineClient): Disposable {
  let answered = 0;
  const timer = setInterval(() => {
    const pings = client.lines.filter((line) => line.startsWith("sys:ping:")).length;
    for (; answered < pings; answered++) client.send("sys:pong:idle {}\n");
  }, 5);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** Waits until the connections count as silent, so that the server pings them when they are in the way of a newcomer. */
const untilSilent = () => Bun.sleep(1_100);

const codeOf = (line: string): unknown =>
  (JSON.parse(line.slice(line.indexOf("{"))) as { code?: unknown }).code;

const exec = (ref: string, mod: string, args: string) => `mod:exec:${ref} ${JSON.stringify({ mod, args })}\n`;

describe("a key that may have one connection", () => {
  test("gets in again within seconds when that one is lost, and what it requested meanwhile is answered", async () => {
    const identity = await keyFor(1);
    using relay = new Relay(site.port);
    using lost = await served(identity, relay.port);
    relay.blackHole(true);
    await untilSilent();
    const startedAt = performance.now();
    using again = await LineClient.connect({ port: site.port, identity });
    again.send(`sys:ping:held {}\n${exec("e1", "echo.ts", "one")}${exec("e2", "echo.ts", "two")}`);
    await again.line("sys:pong:held");
    expect(performance.now() - startedAt).toBeWithin(1_900, 4_000);
    await again.line("mod:exec_resp:e1");
    await again.line("mod:exec_resp:e2");
    await server.line("another connection of this key needs the place");
    expect(lost.lines.filter((line) => line.startsWith("sys:error"))).toEqual([]);
  });

  test("is told 'busy' while that one is alive, and nothing that it requested meanwhile runs", async () => {
    const identity = await keyFor(1);
    using first = await served(identity);
    using _ = answerPings(first);
    await untilSilent();
    using second = await LineClient.connect({ port: site.port, identity });
    second.send(exec("never", "wait.ts", "0"));
    expect(codeOf(await second.line("sys:error:-"))).toBe("busy");
    await within(2_000, "the end", second.closed);
    expect(second.lines.filter((line) => line.startsWith("mod:"))).toEqual([]);
    first.send("sys:ping:still {}\n");
    await first.line("sys:pong:still");
    expect(server.stderr.filter((line) => line.includes("never waits"))).toEqual([]);
  });

  test("keeps its connection with any byte, even half a request", async () => {
    const identity = await keyFor(1);
    using first = await served(identity);
    await untilSilent();
    using second = await LineClient.connect({ port: site.port, identity });
    await first.line("sys:ping:");
    first.send("sys:p");
    expect(codeOf(await second.line("sys:error:-", 1_500))).toBe("busy");
    first.send("ing:whole {}\n");
    await first.line("sys:pong:whole");
  });

  test("loses its connection if that is silent, which is told why", async () => {
    const identity = await keyFor(1);
    using silent = await served(identity);
    await untilSilent();
    using second = await served(identity);
    expect(codeOf(await silent.line("sys:error:-"))).toBe("timeout");
    await within(3_000, "the end", silent.closed);
    expect(second.isClosed).toBe(false);
  });

  test("keeps its connection if the newcomer leaves while it waits", async () => {
    const identity = await keyFor(1);
    using first = await served(identity);
    await untilSilent();
    const impatient = await LineClient.connect({ port: site.port, identity });
    impatient.send(exec("never", "wait.ts", "0"));
    await first.line("sys:ping:");
    impatient.terminate();
    // Longer than the time for an answer to the ping.
    await Bun.sleep(2_300);
    first.send("sys:ping:still {}\n");
    await first.line("sys:pong:still");
    expect(server.stderr.filter((line) => line.includes("never waits"))).toEqual([]);
  });

  test("has one of several newcomers wait and get in, and the others told 'busy'", async () => {
    const identity = await keyFor(1);
    using _lost = await served(identity);
    await untilSilent();
    const newcomers = await Promise.all(
      [1, 2, 3].map(() => LineClient.connect({ port: site.port, identity })),
    );
    const ends = await Promise.all(
      newcomers.map(async (client) => {
        client.send("sys:ping:1 {}\n");
        const line = await client.line(/^sys:(pong:1|error:-)/);
        return line.startsWith("sys:pong") ? "in" : codeOf(line);
      }),
    );
    expect(ends.sort()).toEqual(["busy", "busy", "in"]);
    for (const client of newcomers) client.terminate();
  });

  test("has only a little read of what a newcomer sends while it waits", async () => {
    const identity = await keyFor(1);
    using first = await served(identity);
    await untilSilent();
    using flooding = await LineClient.connect({ port: site.port, identity });
    const frame = `sys:ping:p {"x":"${"y".repeat(60_000)}"}\n`;
    flooding.send(frame.repeat(500));
    await first.line("sys:ping:");
    await Bun.sleep(500);
    expect(flooding.unsentBytes).toBeGreaterThan(15 * 1024 ** 2);
    await eventually(
      "all pongs",
      () => flooding.lines.filter((line) => line.startsWith("sys:pong:p")).length === 500,
      10_000,
    );
  });
});

test("of two connections the lost one is replaced, though the other has been silent for longer", async () => {
  const identity = await keyFor(2);
  using relay = new Relay(site.port);
  using quiet = await served(identity);
  using _ = answerPings(quiet);
  using _lost = await served(identity, relay.port);
  relay.blackHole(true);
  await untilSilent();
  using third = await served(identity);
  expect([quiet.isClosed, third.isClosed]).toEqual([false, false]);
});

test("two lost connections are replaced by two newcomers", async () => {
  const identity = await keyFor(2);
  using relay = new Relay(site.port);
  using _one = await served(identity, relay.port);
  using _two = await served(identity, relay.port);
  relay.blackHole(true);
  await untilSilent();
  const startedAt = performance.now();
  const [first, second] = await Promise.all([served(identity), served(identity)]);
  expect(performance.now() - startedAt).toBeLessThan(4_000);
  first.terminate();
  second.terminate();
});

test("the server's own limit for each key is handled like that of a key", async () => {
  await using other = await Site.create(testModules);
  await other.start(["--max-connections-per-key", "1"]);
  const identity = await newIdentity();
  await trust(other, identity.fingerprint);
  using relay = new Relay(other.port);
  using _lost = await eventually("trust", async () => {
    const client = await LineClient.connect({ port: relay.port, identity });
    client.send("sys:ping:1 {}\n");
    return client.line("sys:pong:1", 500).then(
      () => client,
      () => undefined,
    );
  });
  relay.blackHole(true);
  await untilSilent();
  using _again = await served(identity, other.port);
});
