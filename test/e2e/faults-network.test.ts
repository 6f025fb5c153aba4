import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/identity/identity.ts";
import { connect, type VeripyClient, VeripyError } from "../../src/index.ts";
import { clientOf, trust } from "../helpers/keys.ts";
import { LineClient } from "../helpers/line-client.ts";
import type { Running } from "../helpers/processes.ts";
import { Relay, type Way } from "../helpers/relay.ts";
import { Site } from "../helpers/site.ts";
import { testModules } from "../helpers/test-modules.ts";
import { vitalsOf } from "../helpers/vitals.ts";
import { eventually, within } from "../helpers/within.ts";

let site: Site;
let server: Running;
let identity: Identity;
let port: number;

beforeAll(async () => {
  site = await Site.create(testModules);
  identity = await clientOf(site);
  server = await site.start([
    ...["--handshake-rate", "100000", "--handshake-burst", "100000", "--idle-timeout", "600ms", "--eager"],
  ]);
  port = site.port;
}, 30_000);
afterAll(() => site[Symbol.asyncDispose]());

const descriptors = () => vitalsOf(server.process.pid).descriptors;
const open = (port: number, reconnect = false): Promise<VeripyClient> =>
  connect({ host: "127.0.0.1", port, certsDir: site.certs, timeoutMs: 2_000, reconnect });
const logged = (text: string) => server.stderr.some((line) => line.includes(text));

/** `ok`, or the code of the failure. */
async function ended(call: Promise<unknown>): Promise<string> {
  try {
    await within(5_000, "the end of a call", call);
    return "ok";
  } catch (error) {
    if (error instanceof VeripyError) return error.code;
    throw error;
  }
}

describe("a connection that breaks", () => {
  test.each(["up", "down"] as const)(
    "after any byte that goes %s leaves nothing behind, and the call fails",
    async (way: Way) => {
      const before = descriptors();
      using relay = new Relay(port);
      const ends: number[] = [];
      relay[way].onForwarded = (bytes) => ends.push(bytes);
      // What can be cut: a handshake, and a sync, a verify and an exec with their answers.
      {
        using client = await open(relay.port);
        await client.exec("echo.ts", "x");
      }
      relay[way].onForwarded = undefined;
      const total = relay[way].forwarded;
      const handshake = way === "up" ? 700 : 1_000;
      expect(total).toBeGreaterThan(handshake);
      // A cut at the end of a message comes together with the reaction to the message.
      const cuts = new Set(ends.flatMap((end) => [end - 1, end, end + 1]));
      for (let bytes = 1; bytes < total; bytes += bytes < handshake ? 41 : 3) cuts.add(bytes);
      cuts.delete(total);
      cuts.delete(total + 1);
      for (const bytes of cuts) {
        relay[way].set({ cutAfterBytes: bytes });
        const code = await ended(
          open(relay.port).then((client) => client.exec("echo.ts", "x").finally(() => client.close())),
        );
        // The cut may come after the last byte that the client needed.
        expect(["unreachable", "untrusted", "ok"]).toContain(code);
        if (bytes < total * 0.8) expect(code).not.toBe("ok");
      }
      await eventually("the server to let go of all of them", () => descriptors() <= before);
    },
    20_000,
  );

  test.each(["reset", "close"])(
    "by a %s aborts the calls of that client, and the module sees its signal",
    async (way) => {
      using client = await LineClient.connect({ port, identity });
      client.send(`mod:exec:gone-${way} {"mod":"wait.ts","args":"60000"}\n`);
      await server.line(`gone-${way} waits`);
      if (way === "reset") client.terminate();
      else client.end();
      await server.line(`gone-${way} aborted`, 3_000);
    },
  );

  test("by the client closing its half of it aborts its calls too", async () => {
    using relay = new Relay(port);
    using client = await LineClient.connect({ port: relay.port, identity });
    client.send('mod:exec:half {"mod":"wait.ts","args":"60000"}\n');
    await server.line("half waits");
    relay.endUp();
    await server.line("half aborted", 3_000);
    await within(3_000, "the end", client.closed);
  });

  test("while the server has stopped reading, because the client is at its limit, aborts the calls", async () => {
    await using own = await site.start(["--port", "0", "--max-requests", "1"]);
    const ownPort = site.port;
    using client = await LineClient.connect({ port: ownPort, identity });
    client.send(
      'mod:exec:full {"mod":"wait.ts","args":"60000"}\nmod:exec:next {"mod":"wait.ts","args":"60000"}\n',
    );
    await own.line("full waits");
    client.terminate();
    await own.line("full aborted", 3_000);
    expect(own.stderr.some((line) => line.includes("next waits"))).toBe(false);
  });

  test("at once for many clients with calls in flight leaves no call, descriptor or process behind", async () => {
    const before = vitalsOf(server.process.pid);
    using relay = new Relay(port);
    const clients = await Promise.all(Array.from({ length: 30 }, () => open(relay.port)));
    const calls = clients.map((client) => ended(client.exec("wait.ts", "60000")));
    await eventually("the calls to begin", () => relay.up.forwarded > 0);
    await Promise.all(clients.map((client) => client.ping()));
    relay.cutAll();
    expect(new Set(await Promise.all(calls))).toEqual(new Set(["unreachable"]));
    await eventually("everything to be as before", () => {
      const now = vitalsOf(server.process.pid);
      return now.descriptors <= before.descriptors && now.children.length === before.children.length;
    });
    using again = await open(port);
    expect((await again.stats()).reduce((sum, { inFlight }) => sum + inFlight, 0)).toBe(0);
  });
});

describe("a black hole", () => {
  test("on the way: the server gives the client up after its idle time and aborts its calls", async () => {
    using relay = new Relay(port);
    using client = await LineClient.connect({ port: relay.port, identity });
    client.send('mod:exec:hole {"mod":"wait.ts","args":"60000"}\n');
    await server.line("hole waits");
    relay.blackHole(true);
    await server.line("hole aborted", 5_000);
  });

  test("on the way: a call of the client ends at its deadline", async () => {
    using relay = new Relay(port);
    using client = await open(relay.port);
    relay.blackHole(true);
    const startedAt = performance.now();
    expect(await ended(client.sync())).toBe("timeout");
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });

  test("a suspended client is disconnected, and reconnects by itself when it continues", async () => {
    // A key of its own, because the log suppresses repeated lines about one key.
    const { certs, fingerprint } = await site.newClient("stopped");
    await trust(site, { fingerprint, name: "stopped" });
    await server.line("Trusted keys changed");
    const watcher = site.watch(["watch", "--json", "--port", String(port), "--certs", certs]);
    await watcher.line('"verdict"');
    watcher.process.kill("SIGSTOP");
    await server.line("Disconnected: stopped");
    watcher.process.kill("SIGCONT");
    await watcher.line('"reconnected"', 8_000);
  });
});

describe("a client that reconnects", () => {
  test("resumes with a sync: it learns what has changed while it was away", async () => {
    using relay = new Relay(port);
    await site.write("before.ts", 'export const execute = () => "1";\n');
    await eventually("the module", () => logged("modload: before.ts"));
    using client = await open(relay.port, true);
    const back = new Promise<{ added: unknown[]; changed: unknown[]; removed: readonly string[] }>(
      (resolve) => client.once("reconnected", (difference) => resolve(difference as never)),
    );
    const call = ended(client.exec("wait.ts", "60000", { repeat: false }));
    relay.cutAll();
    expect(await call).toBe("unreachable");
    await site.write("after.ts", 'export const execute = () => "2";\n');
    await site.write("before.ts", 'export const execute = () => "3";\n');
    await eventually("both changes", () => logged("modload: after.ts") && logged("modreload: before.ts"));
    const difference = await within(8_000, "the reconnection", back);
    // What was loaded before the reconnect is in the sync; the rest comes as a broadcast.
    await eventually("the client to know", () => client.reports.has("after.ts"));
    expect(difference.removed).toEqual([]);
    expect((await client.exec("before.ts")).result).toBe("3");
    expect((await client.exec("after.ts")).result).toBe("2");
  });

  test("survives a restart of the server", async () => {
    await using first = await site.start(["--port", "0"]);
    const ownPort = site.port;
    using client = await open(ownPort, true);
    const back = new Promise((resolve) => client.once("reconnected", resolve));
    first.process.kill("SIGKILL");
    await first.ended();
    await using _ = await site.start(["--port", String(ownPort)]);
    await within(8_000, "the reconnection", back);
    expect((await client.exec("echo.ts", "again")).result).toBe("again");
  });
});
