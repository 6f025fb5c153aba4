import { afterAll, afterEach, beforeAll, describe, expect, setSystemTime, test } from "bun:test";
import { join } from "node:path";
import { DeadlineWheel } from "../../src/base/deadlines.ts";
import { connect, serve, type VeripyClient, type VeripyServer } from "../../src/index.ts";
import { newIdentity, trust } from "../helpers/keys.ts";
import { Site } from "../helpers/site.ts";
import { testModules } from "../helpers/test-modules.ts";
import { eventually } from "../helpers/within.ts";

// The clock of this process is set, so the server runs in it too. No program here can set that of another.

const hourMs = 3_600_000;
const yearMs = 365 * 24 * hourMs;

afterEach(() => void setSystemTime());

test.each([
  ["forward", 10 * yearMs],
  ["back", -10 * yearMs],
])("a clock that is set %s neither fires deadlines nor holds them up", async (_, jumpMs) => {
  const wheel = new DeadlineWheel(5);
  const fired: string[] = [];
  wheel.arm({ expire: () => fired.push("soon") }, 100);
  const late = wheel.arm({ expire: () => fired.push("late") }, 60_000);
  setSystemTime(Date.now() + jumpMs);
  expect(fired).toEqual([]);
  const startedAt = performance.now();
  await eventually("the deadline", () => fired.includes("soon"), 2_000);
  expect(performance.now() - startedAt).toBeGreaterThan(50);
  expect(fired).toEqual(["soon"]);
  late.disarm();
});

describe("with a clock that jumps", () => {
  let site: Site;
  let server: VeripyServer;

  beforeAll(async () => {
    site = await Site.create(testModules);
    server = await serve({
      port: 0,
      modsDir: join(site.path, "mods"),
      certsDir: site.certs,
      trustedKeysPath: join(site.path, "trusted-keys.json"),
      hosts: { command: [site.server] },
    });
  }, 30_000);
  afterAll(async () => {
    await server.stop();
    await site[Symbol.asyncDispose]();
  });

  async function expiringClient(): Promise<() => Promise<VeripyClient>> {
    const identity = await newIdentity();
    const expires = new Date(Date.now() + hourMs).toISOString();
    await trust(site, { fingerprint: identity.fingerprint, expires });
    const open = () =>
      connect({
        host: "127.0.0.1",
        port: server.port,
        identity,
        certsDir: site.certs,
        serverFingerprint: server.fingerprint,
      });
    await eventually("the trust file to be read", () =>
      open().then(
        (client) => {
          client.close();
          return true;
        },
        () => false,
      ),
    );
    return open;
  }

  test("past the expiry of a key its sessions end, and others do not", async () => {
    const open = await expiringClient();
    using expiring = await open();
    using other = await connect({ host: "127.0.0.1", port: server.port, certsDir: site.certs });
    setSystemTime(Date.now() + 2 * hourMs);
    await eventually("the end of the session", () => !expiring.isConnected, 3_000);
    expect(await other.ping()).toBeGreaterThan(0);
    expect((await other.exec("echo.ts", "x")).result).toBe("x");
  });

  test("back before the expiry of a key it may come again", async () => {
    const open = await expiringClient();
    const now = Date.now();
    setSystemTime(now + 2 * hourMs);
    expect(
      await open().then(
        () => "connected",
        (error) => error.code,
      ),
    ).toBe("untrusted");
    setSystemTime(now);
    using again = await open();
    expect(again.isConnected).toBe(true);
  });

  test("years back or forward, calls keep their deadlines and their answers", async () => {
    using client = await connect({ host: "127.0.0.1", port: server.port, certsDir: site.certs });
    for (const jumpMs of [yearMs, -2 * yearMs]) {
      const waiting = client.exec("wait.ts", "150");
      setSystemTime(Date.now() + jumpMs);
      expect((await waiting).result).toBe("150");
      const startedAt = performance.now();
      const code = await client.exec("wait.ts", "60000", { timeoutMs: 200 }).catch((error) => error.code);
      expect(code).toBe("timeout");
      expect(performance.now() - startedAt).toBeWithin(150, 2_000);
    }
  });
});
