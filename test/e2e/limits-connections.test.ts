import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/identity/identity.ts";
import { clientOf, newIdentity, trust } from "../helpers/keys.ts";
import { LineClient } from "../helpers/line-client.ts";
import type { Running } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { testModules } from "../helpers/test-modules.ts";
import { eventually, within } from "../helpers/within.ts";

let site: Site;
let identity: Identity;

beforeAll(async () => {
  site = await Site.create(testModules);
  identity = await clientOf(site);
});
afterAll(() => site[Symbol.asyncDispose]());

const start = (...flags: string[]): Promise<Running> => site.start(["--port", "0", ...flags]);
const connect = (as: Identity = identity): Promise<LineClient> =>
  LineClient.connect({ port: site.port, identity: as });

/** A connection that has been served. */
async function served(as: Identity = identity): Promise<LineClient> {
  const client = await connect(as);
  client.send("sys:ping:first {}\n");
  await client.line("sys:pong:first");
  return client;
}

/** TCP and nothing more. */
async function stranger(): Promise<{ closed: Promise<void>; received: () => number } & Disposable> {
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  let received = 0;
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: site.port,
    socket: {
      data: (_, chunk) => {
        received += chunk.length;
      },
      close: () => resolve(),
      error: () => resolve(),
    },
  });
  return { closed, received: () => received, [Symbol.dispose]: () => socket.terminate() };
}

async function took(event: Promise<unknown>): Promise<number> {
  const start = performance.now();
  await within(5_000, "an event", event);
  return performance.now() - start;
}

function codeOf(line: string): unknown {
  return (JSON.parse(line.slice(line.indexOf("{"))) as { code?: unknown }).code;
}

describe("time", () => {
  test("a connection that does not finish its handshake is closed after the handshake timeout, not before", async () => {
    await using server = await start("--handshake-timeout", "300ms");
    using silent = await stranger();
    const ms = await took(silent.closed);
    expect(ms).toBeWithin(250, 1_500);
    expect(silent.received()).toBe(0);
    await server.line("handshake_timeout");
  });

  test("a peer that asks nothing is told so and closed; one that asks in time stays", async () => {
    await using _ = await start("--first-request-timeout", "400ms");
    using silent = await connect();
    using asking = await served();
    expect(await took(silent.closed)).toBeWithin(300, 1_500);
    expect(codeOf(await silent.line("sys:error:-"))).toBe("timeout");
    asking.send("sys:ping:late {}\n");
    await asking.line("sys:pong:late");
  });

  test("half a request is no request", async () => {
    await using _ = await start("--first-request-timeout", "300ms");
    using client = await connect();
    client.send("sys:ping:1 {");
    await within(2_000, "the end", client.closed);
    expect(codeOf(await client.line("sys:error:-"))).toBe("timeout");
  });

  test("an idle peer is pinged: one that answers stays, one that does not is closed", async () => {
    await using _ = await start("--idle-timeout", "400ms");
    using silent = await served();
    using alive = await served();
    const answering = (async () => {
      for (let pings = 1; pings <= 4; pings++) {
        await within(3_000, `ping ${pings}`, pinged(alive, pings));
        alive.send("sys:pong:idle {}\n");
      }
    })();
    expect(await took(silent.closed)).toBeWithin(300, 2_000);
    expect(silent.lines).toContainEqual(expect.stringContaining("sys:ping:idle"));
    expect(codeOf(await silent.line("sys:error:-"))).toBe("timeout");
    await answering;
    expect(alive.isClosed).toBe(false);
  });
});

async function pinged(client: LineClient, times: number): Promise<void> {
  const pings = () => client.lines.filter((line) => line.startsWith("sys:ping:idle")).length;
  await eventually(`ping ${times}`, () => pings() >= times);
}

describe("size", () => {
  const maxLine = 1_000;
  const header = "mod:exec:1 ";
  const line = (bytes: number) => {
    const frame = (args: string) => `${header}${JSON.stringify({ mod: "echo.ts", args })}`;
    return frame("x".repeat(bytes - frame("").length));
  };

  test("a request of exactly the longest line is answered, in one piece and byte by byte", async () => {
    await using _ = await start("--max-line", String(maxLine));
    using client = await connect();
    expect(line(maxLine)).toHaveLength(maxLine);
    client.send(`${line(maxLine)}\n`);
    expect(codeOf(await client.line("mod:exec_resp:1"))).toBeUndefined();
    for (const character of `${line(maxLine).replace(":1 ", ":2 ")}\n`) client.send(character);
    await client.line("mod:exec_resp:2");
    expect(client.isClosed).toBe(false);
  });

  test.each([
    ["one byte more", `${line(maxLine + 1)}\n`],
    ["a line that does not end", "x".repeat(maxLine + 1)],
  ])("%s: the reason, then the end", async (_, text) => {
    await using server = await start("--max-line", String(maxLine));
    using client = await connect();
    client.send(text);
    expect(codeOf(await client.line("sys:error:-"))).toBe("too_large");
    await within(2_000, "the end", client.closed);
    expect(client.lines.filter((each) => each !== "")).toHaveLength(1);
    await server.line("A line has more than 1000 bytes");
  });
});

describe("count", () => {
  test("past the connections of one key the next is told 'busy'; a place that is left can be taken", async () => {
    await using _ = await start("--max-connections-per-key", "2");
    using first = await served();
    using second = await served();
    using third = await connect();
    expect(codeOf(await third.line("sys:error:-"))).toBe("busy");
    await within(2_000, "the end", third.closed);
    expect([first.isClosed, second.isClosed]).toEqual([false, false]);
    first.end();
    await first.closed;
    await servedSoon();
  });

  test("the trust file may allow a key fewer connections", async () => {
    const narrow = await newIdentity();
    await trust(site, { fingerprint: narrow.fingerprint, max_connections: 1 });
    await using _ = await start("--max-connections-per-key", "2");
    using _first = await served(narrow);
    using second = await connect(narrow);
    expect(codeOf(await second.line("sys:error:-"))).toBe("busy");
    using _other = await served();
  });

  test("past the connections in all the next is told 'busy', whoever it is", async () => {
    const other = await newIdentity();
    await trust(site, other.fingerprint);
    await using _ = await start("--max-connections", "2");
    using first = await served();
    using _second = await served(other);
    using third = await connect();
    expect(codeOf(await third.line("sys:error:-"))).toBe("busy");
    first.terminate();
    await servedSoon();
  });

  test("unfinished handshakes in all: one more is closed at once, and trusted peers get in again after", async () => {
    await using server = await start("--max-handshakes", "3", "--handshake-timeout", "700ms");
    using _a = await stranger();
    using _b = await stranger();
    using c = await stranger();
    using fourth = await stranger();
    await within(500, "the fourth to be closed", fourth.closed);
    await server.line("too_many_handshakes");
    using refused = await connect();
    expect(refused.isClosed).toBe(true);
    await within(3_000, "the handshake timeout", c.closed);
    using _client = await served();
  });

  test("unfinished handshakes of one address: one more is closed, another address is not affected", async () => {
    await using server = await start("--max-handshakes-per-address", "2");
    using _a = await stranger();
    using _b = await stranger();
    using third = await stranger();
    await within(500, "the third to be closed", third.closed);
    await server.line("too_many_handshakes");
    using elsewhere = await LineClient.connect({ port: site.port, host: "::1", identity });
    elsewhere.send("sys:ping:1 {}\n");
    await elsewhere.line("sys:pong:1");
  });

  test("handshakes come at once up to the burst, then at the rate", async () => {
    await using server = await start("--handshake-burst", "3", "--handshake-rate", "1");
    for (let count = 1; count <= 3; count++) {
      using _client = await served();
    }
    using refused = await connect();
    expect(refused.isClosed).toBe(true);
    await server.line("rate_limited");
    const startedAt = performance.now();
    await eventually("a place", async () => {
      using again = await connect();
      return !again.isClosed;
    });
    expect(performance.now() - startedAt).toBeLessThan(1_500);
  });
});

/** Resolves when a client is served: the server may not have noticed yet that another one has left. */
async function servedSoon(): Promise<void> {
  await eventually("a free place", async () => {
    using client = await connect();
    client.send("sys:ping:1 {}\n");
    return (await client.line(/^sys:(pong:1|error:-)/)).startsWith("sys:pong");
  });
}
