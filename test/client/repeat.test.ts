import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Identity } from "../../src/identity/identity.ts";
import { type ConnectOptions, connect, type VeripyClient, VeripyError } from "../../src/index.ts";
import { AnsweringServer, type Asker, honestFrame } from "../helpers/answering-server.ts";
import { newIdentity } from "../helpers/keys.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";

setDefaultTimeout(15_000);

let identities: { server: Identity; client: Identity };
let certs: { path: string } & AsyncDisposable;

beforeAll(async () => {
  identities = { server: await newIdentity("server"), client: await newIdentity("client") };
  certs = await temporaryDirectory();
});
afterAll(() => certs[Symbol.asyncDispose]());

const connectTo = (server: AnsweringServer, options: ConnectOptions) =>
  connect({
    host: "127.0.0.1",
    port: server.port,
    identity: identities.client,
    serverFingerprint: identities.server.fingerprint,
    certsDir: certs.path,
    ...options,
  });

/** What a server does with a call, by how many came before it; undefined answers it well. */
type Fate = (callsBefore: number, ref: string, asker: Asker) => string | undefined;

interface Called extends Disposable {
  readonly client: VeripyClient;
  /** Calls that have reached the server. */
  readonly calls: () => number;
}

async function called(fate: Fate, options: ConnectOptions = {}): Promise<Called> {
  const server = new AnsweringServer(identities.server);
  let calls = 0;
  server.script = (line, asker) => {
    const ref = /^mod:exec:(\S+)/.exec(line)?.[1];
    if (ref === undefined) return honestFrame(line);
    calls += 1;
    return fate(calls - 1, ref, asker) ?? honestFrame(line);
  };
  const client = await connectTo(server, options);
  return served(server, client, () => calls);
}

function served(server: AnsweringServer, client: VeripyClient, calls: () => number): Called {
  return {
    client,
    calls,
    [Symbol.dispose]() {
      client.close();
      server[Symbol.dispose]();
    },
  };
}

const refusal = (ref: string, code: string, fields: object = {}) =>
  `mod:exec_resp:${ref} ${JSON.stringify({ error: "Not now.", code, ...fields })}\n`;

/** The error that a promise is rejected with. */
async function failureOf(promise: Promise<unknown>): Promise<VeripyError> {
  const thrown = await promise.catch((error: unknown) => error);
  if (thrown instanceof VeripyError) return thrown;
  throw new Error(`A VeripyError was expected, got ${JSON.stringify(thrown)}`);
}

const notStarted: Record<string, Fate> = {
  busy: (_, ref) => refusal(ref, "busy"),
  shutting_down: (_, ref) => refusal(ref, "shutting_down", { started: false }),
};

describe.each(Object.entries(notStarted))(
  "a call that is refused as '%s' before it started",
  (code, refuse) => {
    const twice: Fate = (before, ref, asker) => (before < 2 ? refuse(before, ref, asker) : undefined);

    test("is made again by default", async () => {
      using server = await called(twice);
      expect((await server.client.exec("echo", "hi")).result).toBe("hi");
      expect(server.calls()).toBe(3);
      // The second time the version is known, and the call takes the short way.
      expect((await server.client.exec("echo", "again")).result).toBe("again");
    });

    test("is not made again with repeat: false", async () => {
      using server = await called(twice);
      expect(await failureOf(server.client.exec("echo", "hi", { repeat: false }))).toMatchObject({
        code,
        started: false,
      });
      expect(server.calls()).toBe(1);
    });

    test.each([false, true])("is made six times at most; verified before: %p", async (isVerified) => {
      using server = await called(refuse);
      if (isVerified) await server.client.verify("echo");
      expect(await failureOf(server.client.exec("echo", "hi"))).toMatchObject({ code, started: false });
      expect(server.calls()).toBe(6);
    });

    test("is not made again after its deadline", async () => {
      using server = await called(refuse);
      const startedAt = performance.now();
      const failure = await failureOf(server.client.exec("echo", "hi", { timeoutMs: 200 }));
      expect(failure).toMatchObject({ code, started: false });
      expect(performance.now() - startedAt).toBeLessThan(1_000);
      expect(server.calls()).toBeLessThan(4);
    });

    test("is not made again once it is cancelled", async () => {
      const controller = new AbortController();
      using server = await called((before, ref, asker) => {
        setTimeout(() => controller.abort(), 5);
        return refuse(before, ref, asker);
      });
      const call = server.client.exec("echo", "hi", { signal: controller.signal });
      expect((await failureOf(call)).code).toBe("cancelled");
      expect(server.calls()).toBe(1);
    });
  },
);

const mayHaveStarted: Record<string, Fate> = {
  "is ended as 'shutting_down' by a server that does not say that it had not started": (_, ref) =>
    refusal(ref, "shutting_down"),
  "is refused as 'busy' after its first part": (_, ref) =>
    `mod:exec_part:${ref} {"seq":0,"data":"x"}\n${refusal(ref, "busy", { started: false })}`,
  "loses its connection": (_, __, asker) => {
    asker.terminate();
    return "";
  },
  "crashes its module": (_, ref) => refusal(ref, "module_crashed"),
};

test.each(Object.entries(mayHaveStarted))("a call that %s is not made again", async (_, fate) => {
  using server = await called(fate, { reconnect: true });
  const call = server.client.exec("echo", "hi", { onPart: () => {} });
  expect(await failureOf(call)).toMatchObject({ started: "unknown" });
  // What came behind it would have passed it.
  await server.client.exec("echo", "next", { timeoutMs: 5_000 }).catch(() => {});
  expect(server.calls()).toBe(2);
});

describe("a call that was never sent, since the connection broke while its module was fetched,", () => {
  /** Breaks the first connection at the first `verify`. */
  async function breaking(options: ConnectOptions): Promise<Called> {
    const server = new AnsweringServer(identities.server);
    let [isBroken, calls] = [false, 0];
    server.script = (line, asker) => {
      if (line.startsWith("mod:exec:")) calls += 1;
      if (isBroken || !line.startsWith("mod:verify:")) return honestFrame(line);
      isBroken = true;
      asker.terminate();
      return "";
    };
    const client = await connectTo(server, options);
    return served(server, client, () => calls);
  }

  test("is made over the next connection", async () => {
    using server = await breaking({ reconnect: true });
    expect((await server.client.exec("echo", "hi")).result).toBe("hi");
    expect(server.calls()).toBe(1);
  });

  test("fails at once with repeat: false, or without a next connection", async () => {
    using once = await breaking({ reconnect: true });
    const failure = await failureOf(once.client.exec("echo", "hi", { repeat: false }));
    expect(failure).toMatchObject({ code: "unreachable", started: false });
    using single = await breaking({});
    expect(await failureOf(single.client.exec("echo", "hi"))).toMatchObject({ started: false });
    expect([once.calls(), single.calls()]).toEqual([0, 0]);
  });
});

test("a call made while the server announces its end waits for the next connection, and is sent once", async () => {
  using server = new AnsweringServer(identities.server);
  let calls = 0;
  let first: Asker | undefined;
  server.script = (line, asker) => {
    if (line.startsWith("mod:sync:")) first ??= asker;
    if (line.startsWith("mod:exec:")) calls += 1;
    return honestFrame(line);
  };
  using client = await connectTo(server, { reconnect: true });
  const draining = new Promise((resolve) => client.once("news", resolve));
  first?.write("sys:drain:d {}\n");
  await draining;
  const call = client.exec("echo", "late");
  await client.ping();
  expect(calls).toBe(0);
  first?.end();
  expect((await call).result).toBe("late");
  expect(calls).toBe(1);
});
