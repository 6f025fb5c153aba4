import { describe, expect, test } from "bun:test";
import type { Identity } from "../../src/identity/identity.ts";
import { connectTls, UntrustedServerError } from "../../src/tls/connector.ts";
import { Relay } from "../helpers/relay.ts";
import { eventually } from "../helpers/within.ts";
import { forgedKeyFor, identityOf, Side, TestListener } from "./endpoints.ts";
import { OpensslServer } from "./openssl.ts";

interface Target {
  port: number;
  host?: string;
  identity: Identity;
  expected?: Identity;
  timeoutMs?: number;
  signal?: AbortSignal;
}

function connect({ port, host = "127.0.0.1", identity, expected, timeoutMs = 5_000, signal }: Target) {
  return connectTls({
    host,
    port,
    identity,
    isExpected: (fingerprint) => fingerprint === expected?.fingerprint,
    timeoutMs,
    ...(signal === undefined ? {} : { signal }),
  });
}

async function failure(promise: Promise<unknown>): Promise<UntrustedServerError> {
  const error = await promise.then(
    () => new Error("it connected"),
    (thrown) => thrown,
  );
  return error;
}

describe("a server with another key", () => {
  test("is refused with the key that it has, before our certificate is sent", async () => {
    const client = await identityOf();
    using listener = await TestListener.start([client]);
    using relay = new Relay(listener.port);
    const error = await failure(connect({ port: relay.port, identity: client, expected: client }));
    expect(error).toBeInstanceOf(UntrustedServerError);
    expect(error.code).toBe("untrusted");
    expect(error.fingerprint).toBe(listener.identity.fingerprint);
    expect(error.message).toContain(listener.identity.fingerprint);
    await eventually("the end at the relay", () => relay.open === 0);
    const sent = relay.up.forwarded;

    // The twin: with the right key expected, the certificate and its proof go out.
    relay.up.forwarded = 0;
    const near = new Side(await connect({ port: relay.port, identity: client, expected: listener.identity }));
    await listener.side();
    expect(relay.up.forwarded).toBeGreaterThan(sent + client.certificatePem.length / 2);
    expect(listener.sides).toHaveLength(1);
    near.peer.duplex.close();
  });

  test("is refused too when it shows the expected certificate without having its key", async () => {
    const [client, victim] = [await identityOf(), await identityOf("p256")];
    const forged = { keyPem: forgedKeyFor(victim.certificatePem), certificatePem: victim.certificatePem };
    await using impostor = await OpensslServer.start(forged, "-tls1_3");
    const error = await failure(connect({ port: impostor.port, identity: client, expected: victim }));
    expect(error.code).toBe("unreachable");
    expect(error.message).toContain("it does not have the private key of its certificate");
    expect(String(error.cause)).toContain("BAD_SIGNATURE");

    await using real = await OpensslServer.start(victim, "-tls1_3");
    const near = new Side(await connect({ port: real.port, identity: client, expected: victim }));
    expect(near.peer.fingerprint).toBe(victim.fingerprint);
    near.peer.duplex.close();
  });

  test("is not asked again at its other address", async () => {
    const client = await identityOf();
    using listener = await TestListener.start([client], { hostname: "localhost" });
    const error = await failure(connect({ host: "localhost", port: listener.port, identity: client }));
    expect(error).toBeInstanceOf(UntrustedServerError);
    await listener.refusal();
    expect(listener.refusals).toHaveLength(1);
  });
});

describe("a server that we expect", () => {
  test("is accepted when its certificate has expired: its key counts", async () => {
    const [client, server] = [await identityOf(), await identityOf("p256", -0.5)];
    using listener = await TestListener.start([client], { identity: server });
    const near = new Side(await connect({ port: listener.port, identity: client, expected: server }));
    near.peer.duplex.close();
  });

  test("must speak TLS 1.3", async () => {
    const [client, server] = [await identityOf(), await identityOf("p256")];
    await using old = await OpensslServer.start(server, "-tls1_2");
    const error = await failure(connect({ port: old.port, identity: client, expected: server }));
    expect(error.code).toBe("unreachable");
    expect(error.message).toContain("TLS 1.3");
  });

  test("may speak first: what it says before we listen is not lost", async () => {
    const client = await identityOf();
    using listener = await TestListener.start([client]);
    const connecting = connect({ port: listener.port, identity: client, expected: listener.identity });
    const far = await listener.side();
    far.peer.duplex.write("welcome");
    far.peer.duplex.close();
    const peer = await connecting;
    await eventually("the end of the connection", () => peer.duplex.isClosed);
    const near = new Side(peer);
    await near.received("welcome");
    expect(await near.ended()).toBeUndefined();
  });

  test("is found at ::1 when nothing listens at 127.0.0.1", async () => {
    const client = await identityOf();
    using listener = await TestListener.start([client], { hostname: "::1" });
    for (const host of ["localhost", "::1", "[::1]"]) {
      const near = new Side(
        await connect({ host, port: listener.port, identity: client, expected: listener.identity }),
      );
      expect(near.peer.address).toBe(`[::1]:${listener.port}`);
      near.peer.duplex.close();
    }
  });
});

describe("no server", () => {
  test("where nothing listens, the error says so and what to look at", async () => {
    const identity = await identityOf();
    const port = await closedPort();
    for (const host of ["127.0.0.1", "localhost"]) {
      const error = await failure(connect({ host, port, identity }));
      expect(error.code).toBe("unreachable");
      expect(error.message).toBe(
        `Cannot connect to ${host}:${port}: nothing is listening there. Is veripy-server running, and are host and port right?`,
      );
    }
  });

  test("of that name, the error says so", async () => {
    const identity = await identityOf();
    const error = await failure(connect({ host: "no-such-host.invalid", port: 1, identity }));
    expect(error.code).toBe("unreachable");
    expect(error.message).toContain("no host with that name");
  });

  test("that answers: the deadline ends it, and not before", async () => {
    const identity = await identityOf();
    using silent = plainServer(() => {});
    const started = performance.now();
    const error = await failure(connect({ port: silent.port, identity, timeoutMs: 200 }));
    expect(performance.now() - started).toBeGreaterThanOrEqual(190);
    expect(error.code).toBe("unreachable");
    expect(error.message).toContain("no answer within 200 ms");
    await eventually("the connection to be closed", () => silent.open === 0);
  });

  test.each([
    ["closes at once", (socket: Bun.Socket<undefined>) => socket.end()],
    ["resets", (socket: Bun.Socket<undefined>) => socket.terminate()],
    ["speaks something else", (socket: Bun.Socket<undefined>) => socket.write("SSH-2.0-OpenSSH_9.6\r\n")],
  ])("but one that %s is an error, once", async (_name, open) => {
    const identity = await identityOf();
    using server = plainServer(open);
    const error = await failure(connect({ port: server.port, identity }));
    expect(error.code).toBe("unreachable");
    expect(error.message).toContain(`Cannot connect to 127.0.0.1:${server.port}: `);
  });
});

describe("giving up", () => {
  test("by a signal, before, during and after", async () => {
    const client = await identityOf();
    using listener = await TestListener.start([client]);
    using silent = plainServer(() => {});

    const before = await failure(
      connect({ port: silent.port, identity: client, signal: AbortSignal.abort() }),
    );
    expect(before.code).toBe("closed");
    expect(silent.accepted).toBe(0);

    const during = new AbortController();
    const connecting = failure(connect({ port: silent.port, identity: client, signal: during.signal }));
    await eventually("the connection", () => silent.open === 1);
    during.abort();
    expect((await connecting).code).toBe("closed");
    await eventually("its end", () => silent.open === 0);

    const after = new AbortController();
    const target = {
      port: listener.port,
      identity: client,
      expected: listener.identity,
      signal: after.signal,
    };
    const near = new Side(await connect(target));
    after.abort();
    near.peer.duplex.write("still here");
    await (await listener.side()).received("still here");
    near.peer.duplex.close();
  });
});

describe("a broken connection", () => {
  test("is an end with a reason at both ends, an orderly one is without", async () => {
    const client = await identityOf();
    using listener = await TestListener.start([client]);
    using relay = new Relay(listener.port);
    const near = new Side(await connect({ port: relay.port, identity: client, expected: listener.identity }));
    const far = await listener.side();
    relay.cutAll();
    expect((await near.ended())?.code).toBe("unreachable");
    expect((await far.ended())?.code).toBe("unreachable");
  });

  test("that is half-closed ends at both ends", async () => {
    const client = await identityOf();
    using listener = await TestListener.start([client]);
    using relay = new Relay(listener.port);
    const near = new Side(await connect({ port: relay.port, identity: client, expected: listener.identity }));
    const far = await listener.side();
    relay.endUp();
    await far.ended();
    await near.ended();
  });

  test("whose bytes were changed on the way ends, and none of them is delivered", async () => {
    const client = await identityOf();
    using listener = await TestListener.start([client]);
    using meddler = meddlingProxy(listener.port);
    const near = new Side(
      await connect({ port: meddler.port, identity: client, expected: listener.identity }),
    );
    const far = await listener.side();
    near.peer.duplex.write("before");
    await far.received("before");
    meddler.meddle = true;
    near.peer.duplex.write("after");
    expect((await far.ended())?.code).toBe("unreachable");
    await near.ended();
    expect(far.text).toBe("before");
  });
});

/** A port on which nothing listens. */
async function closedPort(): Promise<number> {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}

function plainServer(open: (socket: Bun.Socket<undefined>) => void) {
  const state = { open: 0, accepted: 0 };
  const listener = Bun.listen<undefined>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open: (socket) => {
        state.open += 1;
        state.accepted += 1;
        open(socket);
      },
      data: () => {},
      close: () => {
        state.open -= 1;
      },
    },
  });
  return {
    port: listener.port,
    get open() {
      return state.open;
    },
    get accepted() {
      return state.accepted;
    },
    [Symbol.dispose]: () => listener.stop(true),
  };
}

/** Forwards everything; once told to, it flips the last bit of each piece that goes to the server. */
function meddlingProxy(targetPort: number) {
  const proxy = { meddle: false, port: 0, [Symbol.dispose]: () => {} };
  type Data = { other: Bun.Socket<Data> | undefined; waiting: Uint8Array[]; isClient: boolean };
  const forward = (socket: Bun.Socket<Data>, chunk: Uint8Array) => {
    const copy = Uint8Array.from(chunk);
    if (proxy.meddle && socket.data.isClient) copy[copy.length - 1] = (copy[copy.length - 1] ?? 0) ^ 1;
    if (socket.data.other === undefined) socket.data.waiting.push(copy);
    else socket.data.other.write(copy);
  };
  const close = (socket: Bun.Socket<Data>): void => {
    socket.data.other?.end();
  };
  const listener = Bun.listen<Data>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open: (client) => {
        client.data = { other: undefined, waiting: [], isClient: true };
        void Bun.connect<Data>({
          hostname: "127.0.0.1",
          port: targetPort,
          data: { other: client, waiting: [], isClient: false },
          socket: {
            open: (server) => {
              client.data.other = server;
              for (const piece of client.data.waiting) server.write(piece);
            },
            data: forward,
            close,
          },
        });
      },
      data: forward,
      close,
    },
  });
  proxy.port = listener.port;
  proxy[Symbol.dispose] = () => listener.stop(true);
  return proxy;
}
