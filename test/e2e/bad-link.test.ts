import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { type ConnectOptions, connect, type VeripyClient, VeripyError } from "../../src/index.ts";
import { AnsweringServer, honestFrame } from "../helpers/answering-server.ts";
import { FullBacklog } from "../helpers/full-backlog.ts";
import { newIdentity } from "../helpers/keys.ts";
import { Relay } from "../helpers/relay.ts";
import { Site } from "../helpers/site.ts";
import { testModules } from "../helpers/test-modules.ts";
import { jsonLines } from "../helpers/tools.ts";
import { eventually, within } from "../helpers/within.ts";

setDefaultTimeout(30_000);

let site: Site;
let port: number;

beforeAll(async () => {
  site = await Site.create(testModules);
  await site.start(["--handshake-timeout", "3s", "--max-calls", "1", "--max-queue", "0"]);
  port = site.port;
});
afterAll(() => site[Symbol.asyncDispose]());

const open = (options: ConnectOptions): Promise<VeripyClient> =>
  connect({ host: "127.0.0.1", port, certsDir: site.certs, ...options });

/** The error that a promise is rejected with. */
async function failureOf(promise: Promise<unknown>): Promise<VeripyError> {
  const error = await within(
    15_000,
    "a failure",
    promise.then(
      () => undefined,
      (thrown: unknown) => thrown,
    ),
  );
  if (error instanceof VeripyError) return error;
  throw new Error(`Expected a VeripyError, got ${error}`);
}

describe("connecting", () => {
  test("a command ends at its connect deadline even when no packet is answered", async () => {
    using silent = await FullBacklog.start();
    const startedAt = performance.now();
    const to = ["--host", "127.0.0.1", "--port", String(silent.port)];
    const ended = await site.call(["list", "--connect-timeout", "1s", ...to]);
    expect(ended.exitCode).toBe(3);
    expect(ended.stderr).toContain("no answer within 1000 ms");
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });

  test("the loss of the handshake's last message is not reported as missing trust", async () => {
    using relay = new Relay(port, { down: { delayMs: 100 } });
    const opening = failureOf(open({ port: relay.port }));
    await eventually("the first message", () => relay.up.forwarded > 0);
    relay.up.set({ isHole: true });
    const error = await opening;
    expect(error.code).toBe("unreachable");
    expect(error.message).not.toContain("veripy-server trust");
  });

  test("a client whose key is not trusted learns that, even over a slow link", async () => {
    const { certs, fingerprint } = await site.newClient("stranger");
    using relay = new Relay(port, { both: { delayMs: 150 } });
    const error = await failureOf(open({ port: relay.port, certsDir: certs }));
    expect(error.code).toBe("untrusted");
    expect(error.message).toContain(`veripy-server trust ${fingerprint}`);
  });

  test("300 clients that connect at once from one address all succeed", async () => {
    await using own = await Site.create(testModules);
    await own.start();
    const all = { host: "127.0.0.1", port: own.port, certsDir: own.certs };
    const outcomes = await Promise.all(
      Array.from({ length: 300 }, () =>
        connect(all).then(
          (client) => {
            client.close();
            return "ok";
          },
          ({ message }: VeripyError) => message,
        ),
      ),
    );
    expect(outcomes.filter((outcome) => outcome !== "ok")).toEqual([]);
  });
});

test("exec ends with its answer, and does not wait a round trip for the close", async () => {
  const roundTripMs = 600;
  using relay = new Relay(port, { both: { delayMs: roundTripMs / 2 } });
  const calling = site.call(["exec", "--port", String(relay.port), "echo", "here"]);
  await eventually("the connection", () => relay.connections === 1);
  const startedAt = performance.now();
  expect((await calling).stdout).toBe("here\n");
  // The handshake, the list, the module and the call.
  expect((performance.now() - startedAt) / roundTripMs).toBeLessThan(4.8);
});

describe("a call", () => {
  test("whose connection breaks while it is in flight may have run", async () => {
    using relay = new Relay(port);
    using client = await open({ port: relay.port, reconnect: true });
    await client.verify("wait");
    const call = failureOf(client.exec("wait", "60000"));
    await client.ping();
    relay.cutAll();
    expect(await call).toMatchObject({ code: "unreachable", started: "unknown" });
  });

  test("made without a connection waits for one, and runs once", async () => {
    using relay = new Relay(port);
    using client = await open({ port: relay.port, reconnect: true });
    const gone = new Promise((resolve) => client.once("disconnected", resolve));
    relay.cutAll();
    await gone;
    expect(client.isConnected).toBe(false);
    expect((await client.exec("echo", "late")).result).toBe("late");
  });

  test("made without a connection ends at its deadline, and has not run", async () => {
    using relay = new Relay(port);
    using client = await open({ port: relay.port, reconnect: true });
    const gone = new Promise((resolve) => client.once("disconnected", resolve));
    relay[Symbol.dispose]();
    await gone;
    const startedAt = performance.now();
    const error = await failureOf(client.exec("echo", "never", { timeoutMs: 300 }));
    expect(error).toMatchObject({ code: "unreachable", started: false });
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });

  test("made without a connection fails at once with waitForConnection: false", async () => {
    using relay = new Relay(port);
    using client = await open({ port: relay.port, reconnect: true, waitForConnection: false });
    const gone = new Promise((resolve) => client.once("disconnected", resolve));
    relay.cutAll();
    await gone;
    expect(await failureOf(client.exec("echo"))).toMatchObject({ code: "unreachable", started: false });
  });

  test("refused because the module is busy is repeated within its deadline", async () => {
    using client = await open({});
    await client.verify("wait");
    const occupied = new AbortController();
    const first = failureOf(client.exec("wait", "60000", { signal: occupied.signal }));
    const refused = await failureOf(client.exec("wait", "1", { repeat: false }));
    expect(refused).toMatchObject({ code: "busy", started: false });
    const late = await failureOf(client.exec("wait", "1", { timeoutMs: 200 }));
    expect(late).toMatchObject({ code: "busy", started: false });
    // It is on its way before the place is free.
    const again = client.exec("wait", "2");
    occupied.abort();
    expect((await again).result).toBe("2");
    expect((await first).code).toBe("cancelled");
  });

  test("made with 'exec' to a busy module is repeated, but not with --no-repeat", async () => {
    using client = await open({});
    await client.verify("wait");
    const occupied = new AbortController();
    const first = failureOf(client.exec("wait", "60000", { signal: occupied.signal }));
    const single = await site.call(["exec", "--json", "--no-repeat", "wait", "1"]);
    expect(jsonLines(single.stdout).at(-1)).toMatchObject({ code: "busy", started: false });
    const refusals = async () => {
      const { failures } = (await client.stats()).find(({ mod }) => mod === "wait.ts") ?? { failures: 0 };
      return failures;
    };
    const before = await refusals();
    const again = site.call(["exec", "wait", "2"]);
    await eventually("a refusal", async () => (await refusals()) > before);
    occupied.abort();
    expect(await again).toMatchObject({ exitCode: 0, stdout: "2\n", stderr: "" });
    expect((await first).code).toBe("cancelled");
  });

  test.each([
    { flags: [], outcome: { exitCode: 0, stdout: "once\n", stderr: "" }, calls: 1 },
    { flags: ["--no-repeat"], outcome: { exitCode: 3, stdout: "" }, calls: 0 },
  ])(
    "that 'exec' could not send, because the connection broke first, with $flags",
    async ({ flags, outcome, calls }) => {
      const identity = await newIdentity("server");
      using broken = new AnsweringServer(identity);
      const seen: string[] = [];
      broken.script = (line, asker) => {
        const [, type = ""] = line.split(":");
        const isFirst = !seen.includes(type);
        seen.push(type);
        if (type !== "verify" || !isFirst) return honestFrame(line);
        asker.terminate();
        return "";
      };
      const certs = join(site.path, "elsewhere");
      await site.call(["init", "--certs", certs]);
      // In a home of its own, so that the module is not in the store already.
      const home = join(site.path, `home${flags.length}`);
      const to = ["--home", home, "--host", "127.0.0.1", "--port", String(broken.port), "--certs", certs];
      const key = ["--server-fingerprint", identity.fingerprint, "--no-remember"];
      expect(await site.call(["exec", ...to, ...key, ...flags, "echo", "once"])).toMatchObject(outcome);
      expect(seen.filter((type) => type === "exec")).toHaveLength(calls);
    },
  );

  test("refused by a stopping server is repeated at the next server", async () => {
    await using own = await Site.create(testModules);
    const first = await own.start(["--shutdown-timeout", "1s"]);
    using client = await connect({ host: "127.0.0.1", port: own.port, certsDir: own.certs, reconnect: true });
    await client.verify("echo");
    await client.verify("wait");
    const draining = new Promise<void>((resolve) =>
      client.on("news", ({ kind }) => void (kind === "drain" && resolve())),
    );
    const inFlight = failureOf(client.exec("wait", "60000"));
    await client.ping();
    first.process.kill("SIGTERM");
    await within(5_000, "the announcement", draining);
    const single = await failureOf(client.exec("echo", "no", { repeat: false }));
    expect(single).toMatchObject({ code: "shutting_down", started: false });
    const again = client.exec("echo", "again");
    // It was running, so its outcome is unknown.
    expect(await inFlight).toMatchObject({ started: "unknown" });
    await first.ended();
    await own.start();
    expect((await again).result).toBe("again");
  });
});
