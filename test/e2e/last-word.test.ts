import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import type { Identity } from "../../src/identity/identity.ts";
import { clientOf } from "../helpers/keys.ts";
import { LineClient } from "../helpers/line-client.ts";
import { Site } from "../helpers/site.ts";
import { eventually, within } from "../helpers/within.ts";

setDefaultTimeout(30_000);

// What follows when the server has said its last word to a client, and the client goes on.

const MiB = 1024 ** 2;
let site: Site;
let identity: Identity;

beforeAll(async () => {
  site = await Site.create();
  identity = await clientOf(site);
  await site.start();
});
afterAll(() => site[Symbol.asyncDispose]());

/** A peer that ignores the server's goodbye and sends requests for as long as the server takes any. */
class Flooder implements Disposable {
  received = "";
  sentBytes = 0;
  readonly closed: Promise<void>;
  readonly #closed = Promise.withResolvers<void>();
  readonly #block = Buffer.from("sys:ping:1 {}\n".repeat(4_000));
  #at = 0;
  #socket: Bun.Socket | undefined;

  constructor(firstLine: string) {
    this.closed = this.#closed.promise;
    const options = {
      hostname: "127.0.0.1",
      port: site.port,
      // Bun's types have it for sockets of Node's alone.
      allowHalfOpen: true,
      tls: { key: identity.keyPem, cert: identity.certificatePem, rejectUnauthorized: false },
      socket: {
        handshake: (socket: Bun.Socket) => {
          this.#socket = socket;
          socket.write(firstLine);
          this.#flood(socket);
        },
        drain: (socket: Bun.Socket) => this.#flood(socket),
        data: (_: Bun.Socket, chunk: Buffer) => {
          this.received += chunk.toString();
        },
        // With a handler, the end of what the server sends is not the end of the connection.
        end: () => {},
        close: () => this.#closed.resolve(),
        error: () => this.#closed.resolve(),
      },
    };
    Bun.connect(options).catch(() => this.#closed.resolve());
  }

  #flood(socket: Bun.Socket): void {
    // A bounded share of this process, which has others to serve.
    for (let writes = 0; writes < 16; writes++) {
      const taken = socket.write(this.#block.subarray(this.#at));
      if (taken <= 0) return;
      this.sentBytes += taken;
      this.#at = (this.#at + taken) % this.#block.length;
      if (this.#at !== 0) return;
    }
    setImmediate(() => this.#flood(socket));
  }

  [Symbol.dispose](): void {
    this.#socket?.terminate();
  }
}

async function medianPingMs(client: LineClient, pings: number): Promise<number> {
  const times: number[] = [];
  for (let ping = 0; ping < pings; ping++) {
    const begun = performance.now();
    client.send(`sys:ping:p${ping} {}\n`);
    await client.line(`sys:pong:p${ping} `);
    times.push(performance.now() - begun);
    await Bun.sleep(5);
  }
  return times.sort((a, b) => a - b)[Math.floor(pings / 2)] ?? 0;
}

test("a client that keeps sending gets the last word, is no longer read, and disturbs no other client", async () => {
  using other = await LineClient.connect({ port: site.port, identity });
  other.send("sys:ping:first {}\n");
  await other.line("sys:pong:first");
  const flooders = ["GET / HTTP/1.1\n", "no frame\n", "mod:sync\n"].map((line) => new Flooder(line));
  try {
    const begun = performance.now();
    for (const flooder of flooders) {
      await eventually("the last word", () => flooder.received.endsWith("\n"));
      expect(flooder.received).toStartWith("sys:error:- ");
      expect(flooder.received.split("\n")).toHaveLength(2);
    }
    expect(await medianPingMs(other, 100)).toBeLessThan(50);
    const elapsed = performance.now() - begun;
    // What the system buffers at both ends. Read and thrown away, it would be several times as much.
    for (const { sentBytes } of flooders) expect(sentBytes).toBeLessThan(16 * MiB);
    // They are cut off when the time for an answer to the goodbye is over, and not before.
    await within(4_000, "the ends", Promise.all(flooders.map(({ closed }) => closed)));
    expect(elapsed).toBeLessThan(2_000);
    expect(performance.now() - begun).toBeGreaterThan(1_500);
  } finally {
    for (const flooder of flooders) flooder[Symbol.dispose]();
  }
});
