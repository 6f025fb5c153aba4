import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { defaultLimits } from "../../src/base/limits.ts";
import type { Identity } from "../../src/identity/identity.ts";
import { connectTls } from "../../src/tls/connector.ts";
import { listen } from "../../src/tls/listener.ts";
import { captureClientHello } from "../fuzz/connections.ts";
import { eventually, within } from "../helpers/within.ts";
import { forgedKeyFor, identityOf, RawClient, Side, TestListener } from "./endpoints.ts";
import { filesOf, opensslClient } from "./openssl.ts";

async function connected(listener: TestListener, identity: Identity, host = "127.0.0.1"): Promise<Side> {
  return new Side(
    await connectTls({
      host,
      port: listener.port,
      identity,
      isExpected: (fingerprint) => fingerprint === listener.identity.fingerprint,
      timeoutMs: 5_000,
    }),
  );
}

function certificateArgs(identity: Pick<Identity, "keyPem" | "certificatePem">): string[] {
  const { key, certificate } = filesOf(identity);
  return ["-cert", certificate, "-key", key];
}

describe("a trusted key", () => {
  test("becomes a peer with its fingerprint, and bytes go both ways", async () => {
    const client = await identityOf();
    using listener = await TestListener.start([client]);
    const near = await connected(listener, client);
    near.peer.duplex.write("ping");
    const far = await listener.side();
    await far.received("ping");
    far.peer.duplex.write("pong");
    await near.received("pong");
    expect(far.peer.fingerprint).toBe(client.fingerprint);
    expect(near.peer.fingerprint).toBe(listener.identity.fingerprint);
    expect(far.peer.remoteAddress).toBe("127.0.0.1");
    expect(far.peer.address).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(near.peer.address).toBe(`127.0.0.1:${listener.port}`);
    near.peer.duplex.close();
    expect(await far.ended()).toBeUndefined();
    expect(await near.ended()).toBeUndefined();
  });

  test("shares keying material with the server over this connection, and over no other", async () => {
    const client = await identityOf();
    using listener = await TestListener.start([client]);
    const [first, second] = [await connected(listener, client), await connected(listener, client)];
    const label = "EXPORTER-veripy-test";
    const near = Buffer.from(first.peer.exportKeyingMaterial(32, label)).toString("hex");
    expect(near).toHaveLength(64);
    const far = (await listener.side(0)).peer.exportKeyingMaterial(32, label);
    expect(Buffer.from(far).toString("hex")).toBe(near);
    expect(Buffer.from(second.peer.exportKeyingMaterial(32, label)).toString("hex")).not.toBe(near);
    expect(Buffer.from(first.peer.exportKeyingMaterial(32, `${label}2`)).toString("hex")).not.toBe(near);
    for (const side of [first, second]) side.peer.duplex.close();
  });

  test("is trusted whatever its kind, and whatever date its certificate has", async () => {
    const clients = [await identityOf("p256"), await identityOf("ed25519", -0.5)];
    using listener = await TestListener.start(clients);
    for (const client of clients) {
      const near = await connected(listener, client);
      near.peer.duplex.write("hello");
      await (await listener.side(clients.indexOf(client))).received("hello");
      near.peer.duplex.close();
    }
  });

  test("may belong to OpenSSL or to Python, which verifies our certificate with nothing switched off", async () => {
    const client = await identityOf("p256");
    using listener = await TestListener.start([client]);
    const files = filesOf(client);
    const answer = opensslClient(
      listener.port,
      ["-cert", files.certificate, "-key", files.key],
      "by openssl",
    );
    const first = await listener.side(0);
    await first.received("by openssl");
    first.peer.duplex.write("answer");
    first.peer.duplex.close();
    expect(await answer).toContain("answer");

    const program = `
import socket, ssl, sys
port, authority, certificate, key = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
context.load_cert_chain(certificate, key)
with socket.create_connection(("127.0.0.1", int(port))) as plain:
    with context.wrap_socket(plain, server_hostname="localhost") as tls:
        tls.sendall(b"by python")
        print(tls.version(), tls.recv(100).decode())`;
    const authority = filesOf(listener.identity).certificate;
    const python = Bun.spawn(
      ["python3", "-c", program, String(listener.port), authority, files.certificate, files.key],
      { stdout: "pipe", stderr: "pipe" },
    );
    const second = await listener.side(1);
    await second.received("by python");
    second.peer.duplex.write("answer");
    const printed = within(5_000, "python", new Response(python.stdout).text());
    expect(await printed).toBe("TLSv1.3 answer\n");
  });
});

describe("anybody else", () => {
  test("without a certificate is closed before a byte is parsed", async () => {
    using listener = await TestListener.start([]);
    await opensslClient(listener.port, [], "sys:ping:1 {}\n");
    expect(await listener.refusal()).toEqual({
      reason: "no_certificate",
      address: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
    });
    expect(listener.sides).toEqual([]);
    expect(listener.asked).toEqual([]);
  });

  test("with another key is closed before a byte is parsed, and is named", async () => {
    const [friend, stranger] = [await identityOf("p256"), await identityOf("p256")];
    using listener = await TestListener.start([friend]);
    const printed = await opensslClient(listener.port, certificateArgs(stranger), "sys:ping:1 {}\n");
    expect(printed).not.toContain("sys:");
    expect(await listener.refusal()).toMatchObject({
      reason: "untrusted",
      fingerprint: stranger.fingerprint,
    });
    expect(listener.sides).toEqual([]);
  });

  test("who shows a trusted certificate without having its key is nobody", async () => {
    const victim = await identityOf("p256");
    using listener = await TestListener.start([victim]);
    const forged = { keyPem: forgedKeyFor(victim.certificatePem), certificatePem: victim.certificatePem };
    const printed = await opensslClient(listener.port, certificateArgs(forged), "sys:ping:1 {}\n");
    expect(printed).toContain("decrypt error");
    expect((await listener.refusal()).reason).toBe("handshake_failed");
    expect(listener.refusals[0]).not.toHaveProperty("fingerprint");
    expect(listener.asked).toEqual([]);
    expect(listener.sides).toEqual([]);
  });

  test("learns of it at once: the connection is broken, without a byte", async () => {
    using listener = await TestListener.start([]);
    const near = await connected(listener, await identityOf());
    near.peer.duplex.write("sys:ping:1 {}\n");
    expect((await near.ended())?.code).toBe("unreachable");
    expect(near.bytes).toBe(0);
    expect(listener.sides).toEqual([]);
  });

  test.each(["-tls1_2", "-tls1_1", "-tls1"])("with the key but %s gets no handshake", async (version) => {
    const client = await identityOf("p256");
    using listener = await TestListener.start([client]);
    const args = [...certificateArgs(client), version, "-cipher", "DEFAULT@SECLEVEL=0"];
    const printed = await opensslClient(listener.port, args, "sys:ping:1 {}\n");
    expect(printed).toMatch(/alert protocol version|no protocols available|unsupported protocol/);
    expect((await listener.refusal()).reason).toBe("handshake_failed");
    expect(listener.sides).toEqual([]);
  });

  test.each([
    ["text", "GET / HTTP/1.0\r\n\r\n"],
    ["zeros", new Uint8Array(10_000)],
    ["the start of a TLS record", new Uint8Array([0x16, 3, 1, 0xff, 0xff, 1, 0, 0xff, 0xff])],
  ])("who sends %s instead of a handshake is closed, and others are not disturbed", async (_name, bytes) => {
    const client = await identityOf();
    using listener = await TestListener.start([client], { limits: { handshakeMs: 200 } });
    const near = await connected(listener, client);
    using raw = await RawClient.connect(listener.port);
    raw.write(bytes);
    await raw.closed();
    expect((await listener.refusal()).reason).toMatch(/^handshake_(failed|timeout)$/);
    near.peer.duplex.write("still here");
    await (await listener.side()).received("still here");
    near.peer.duplex.close();
  });

  test("who connects and is silent is closed at the deadline, not before", async () => {
    using listener = await TestListener.start([], { limits: { handshakeMs: 300 } });
    const started = performance.now();
    using raw = await RawClient.connect(listener.port);
    await raw.closed();
    expect(performance.now() - started).toBeGreaterThanOrEqual(290);
    expect((await listener.refusal()).reason).toBe("handshake_timeout");
    expect(listener.refusals).toHaveLength(1);
    expect(listener.handshakes).toBe(0);
  });

  test("gets no session ticket to come back with", async () => {
    const client = await identityOf("p256");
    using listener = await TestListener.start([client]);
    const printing = opensslClient(listener.port, [...certificateArgs(client), "-msg"], "hello");
    const far = await listener.side();
    await far.received("hello");
    far.peer.duplex.close();
    const printed = await printing;
    expect(printed).toContain("Finished");
    expect(printed).not.toContain("NewSessionTicket");
  });
});

describe("limits of the listener", () => {
  test("so many handshakes at once from one address, and one more is turned away", async () => {
    const client = await identityOf();
    using listener = await TestListener.start([client], { limits: { maxHandshakesPerAddress: 3 } });
    const raws = await Promise.all([1, 2, 3].map(() => RawClient.connect(listener.port)));
    await eventually("three handshakes", () => listener.handshakes === 3);
    using fourth = await RawClient.connect(listener.port);
    await fourth.closed();
    expect((await listener.refusal()).reason).toBe("too_many_handshakes");
    expect(listener.handshakes).toBe(3);
    for (const raw of raws) raw[Symbol.dispose]();
    await eventually("no handshakes", () => listener.handshakes === 0);
    // A peer is no handshake any more, so there may be more of them than that.
    for (let count = 0; count < 5; count++) await connected(listener, client);
    await listener.side(4);
    expect(listener.handshakes).toBe(0);
  });

  test("so many in one burst from one address, and one more is turned away", async () => {
    const client = await identityOf();
    using listener = await TestListener.start([client], {
      limits: { handshakeBurst: 3, handshakesPerSecond: 0.001 },
    });
    for (let count = 0; count < 3; count++) await connected(listener, client);
    using fourth = await RawClient.connect(listener.port);
    await fourth.closed();
    expect((await listener.refusal()).reason).toBe("rate_limited");
    expect(listener.sides).toHaveLength(3);
  });

  test("one that is turned away is not read, and closed a little later, so that it can't come back at once", async () => {
    using listener = await TestListener.start([], { limits: { maxHandshakesPerAddress: 1 } });
    using _first = await RawClient.connect(listener.port);
    await eventually("a handshake", () => listener.handshakes === 1);
    const startedAt = performance.now();
    using second = await RawClient.connect(listener.port);
    second.write(await captureClientHello());
    await second.closed();
    expect(performance.now() - startedAt).toBeWithin(180, 1_000);
    expect(second.received).toHaveLength(0);
    expect(listener.handshakes).toBe(1);
    using third = await RawClient.connect(listener.port);
    await listener.refusal(1);
    // Nothing waits for its turn once the listener has stopped.
    const stoppedAt = performance.now();
    listener.stop();
    await third.closed();
    expect(performance.now() - stoppedAt).toBeLessThan(150);
  });

  test("one for which there is room by then is let in after all, and is no refusal", async () => {
    const client = await identityOf();
    using listener = await TestListener.start([client], { limits: { maxHandshakesPerAddress: 1 } });
    const first = await RawClient.connect(listener.port);
    await eventually("a handshake", () => listener.handshakes === 1);
    const second = connected(listener, client);
    await Bun.sleep(50);
    expect(listener.sides).toHaveLength(0);
    first[Symbol.dispose]();
    (await second).peer.duplex.write("let in");
    await (await listener.side()).received("let in");
    expect(listener.refusals.map(({ reason }) => reason)).toEqual(["handshake_failed"]);
  });

  test("one that has hung up by then takes no place", async () => {
    using listener = await TestListener.start([], { limits: { maxHandshakesPerAddress: 1 } });
    const first = await RawClient.connect(listener.port);
    await eventually("a handshake", () => listener.handshakes === 1);
    const second = await RawClient.connect(listener.port);
    await Bun.sleep(50);
    second[Symbol.dispose]();
    first[Symbol.dispose]();
    await eventually("no handshake", () => listener.handshakes === 0);
    expect((await listener.refusal(1)).reason).toMatch(/^(too_many_handshakes|handshake_failed)$/);
    await eventually("no handshake", () => listener.handshakes === 0);
  });

  test.skipIf(process.platform !== "linux")(
    "when descriptors run out strangers are turned away, the event loop rests, and the next one is let in",
    async () => {
      const program = join(import.meta.dir, "fixtures", "few-descriptors.ts");
      const child = Bun.spawn(["sh", "-c", `ulimit -n 64; exec "$0" "$@"`, process.execPath, program], {
        stdout: "pipe",
        stderr: "inherit",
      });
      const result = JSON.parse(await within(15_000, "the program", new Response(child.stdout).text()));
      expect(result.refused).toBeGreaterThan(0);
      expect(result.open).toBeGreaterThan(30);
      expect(result.busyMs).toBeLessThan(250);
      expect(result.echoBefore).toBe("still here");
      expect(result.echoAfter).toBe("let in");
    },
  );
});

describe("listening", () => {
  test("localhost is IPv4 and IPv6 on one port", async () => {
    const client = await identityOf();
    using listener = await TestListener.start([client], { hostname: "localhost" });
    expect(listener.addresses).toEqual([`127.0.0.1:${listener.port}`, `[::1]:${listener.port}`]);
    for (const host of ["127.0.0.1", "::1", "[::1]", "localhost"]) {
      const near = await connected(listener, client, host);
      near.peer.duplex.close();
    }
    expect((await listener.side(1)).peer.address).toMatch(/^\[::1\]:\d+$/);
    expect((await listener.side(1)).peer.remoteAddress).toBe("::1");
  });

  test("an IPv4 client of a socket for both families is known by its IPv4 address", async () => {
    const client = await identityOf();
    using listener = await TestListener.start([client], { hostname: "::" });
    const near = await connected(listener, client);
    expect((await listener.side()).peer.remoteAddress).toBe("127.0.0.1");
    near.peer.duplex.close();
  });

  test.each([
    ["a port in use", { hostname: "127.0.0.1" }, "the port is in use"],
    ["a port that is in use on IPv6 alone", { hostname: "localhost" }, "the port is in use"],
    ["an address of another machine", { hostname: "203.0.113.1", port: 0 }, "no such address"],
    ["a name that is none", { hostname: "no-such-host.invalid", port: 0 }, "Cannot listen on no-such-host"],
    ["a port that is none", { hostname: "127.0.0.1", port: 70_000 }, "must be 0 to 65535"],
  ])("on %s is an error that says what to do", async (_name, where, message) => {
    using taken = await TestListener.start([], {
      hostname: where.hostname === "localhost" ? "::1" : "127.0.0.1",
    });
    const attempt = listen({
      port: taken.port,
      ...where,
      identity: taken.identity,
      limits: defaultLimits,
      verdict: () => "trusted",
      onPeer: () => {},
      onRefused: () => {},
    });
    await expect(attempt).rejects.toMatchObject({
      code: "bad_config",
      message: expect.stringContaining(message),
    });
  });

  test("after stop nobody new is accepted, handshakes under way are dropped, and peers live on", async () => {
    const client = await identityOf();
    using listener = await TestListener.start([client]);
    const near = await connected(listener, client);
    const far = await listener.side();
    using raw = await RawClient.connect(listener.port);
    await eventually("a handshake", () => listener.handshakes === 1);
    listener.stop();
    listener.stop();
    await raw.closed();
    expect(listener.handshakes).toBe(0);
    expect(listener.refusals).toEqual([]);
    await expect(connected(listener, client)).rejects.toMatchObject({ code: "unreachable" });
    near.peer.duplex.write("ping");
    await far.received("ping");
    far.peer.duplex.write("pong");
    await near.received("pong");
    near.peer.duplex.close();
    expect(await far.ended()).toBeUndefined();
  });

  test("a handler that throws ends its own connection, with the reason, and no other", async () => {
    const client = await identityOf();
    const server = await identityOf();
    const reasons: string[] = [];
    const listener = await listen({
      hostname: "127.0.0.1",
      port: 0,
      identity: server,
      limits: defaultLimits,
      verdict: () => "trusted",
      onPeer: ({ duplex }) =>
        duplex.attach({
          data: (chunk) => {
            if (Buffer.from(chunk).toString() === "bad") throw new Error("a bug");
            duplex.write("fine");
          },
          closed: (reason) => reasons.push(reason?.message ?? ""),
        }),
      onRefused: () => {},
    });
    const connect = () =>
      connectTls({
        host: "127.0.0.1",
        port: listener.port,
        identity: client,
        isExpected: () => true,
        timeoutMs: 5_000,
      });
    const [good, bad] = [new Side(await connect()), new Side(await connect())];
    bad.peer.duplex.write("bad");
    await bad.ended();
    expect(await eventually("the reason", () => reasons[0])).toContain("a bug");
    good.peer.duplex.write("good");
    await good.received("fine");
    good.peer.duplex.close();
    listener.stop();
  });
});
