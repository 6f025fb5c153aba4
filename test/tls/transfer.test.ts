import { describe, expect, test } from "bun:test";
import { connectTls } from "../../src/tls/connector.ts";
import type { Peer } from "../../src/tls/peer.ts";
import { eventually } from "../helpers/within.ts";
import { identityOf, Side, TestListener } from "./endpoints.ts";

const MiB = 1024 * 1024;

async function pair(maxQueuedBytes: number) {
  const client = await identityOf();
  const listener = await TestListener.start([client], { limits: { maxQueuedBytes } });
  const near = await connectTls({
    host: "127.0.0.1",
    port: listener.port,
    identity: client,
    isExpected: () => true,
    timeoutMs: 5_000,
    maxQueuedBytes,
  });
  return { listener, near, [Symbol.dispose]: () => listener[Symbol.dispose]() };
}

/** Of one to four bytes in UTF-8, and of one or two units in memory. */
const characters = ["x", "ü", "漢", "😀"];

/** Lines that say where they stand, so that a lost, doubled or swapped one is seen. */
function* lines(bytes: number): Generator<string> {
  for (let sent = 0, number = 0; sent < bytes; number++) {
    const character = characters[number % characters.length] ?? "";
    const line = `${number} ${character.repeat((number * 7_919) % 30_000)}\n`;
    sent += Buffer.byteLength(line);
    yield line;
  }
}

/** Sends and waits for `drained` whenever the queue is high; returns the most that was queued. */
function sender(peer: Peer, bytes: number): { drained(): void; readonly done: Promise<number> } {
  const { promise, resolve } = Promise.withResolvers<number>();
  const source = lines(bytes);
  let most = 0;
  const drained = () => {
    while (!peer.duplex.isHigh) {
      const { done, value } = source.next();
      if (done) return resolve(most);
      peer.duplex.write(value);
      most = Math.max(most, peer.duplex.queuedBytes);
      if (peer.duplex.queuedBytes > MiB / 2) break;
    }
    if (!peer.duplex.isHigh) setImmediate(drained);
  };
  return { drained, done: promise };
}

describe("bytes over TLS", () => {
  test("32 MiB each way at the same time arrive in order, and little of it waits in memory", async () => {
    using ends = await pair(2 * MiB);
    const far = (await ends.listener.side()).peer;
    const total = 32 * MiB;
    const expected = new Bun.CryptoHasher("sha256");
    for (const line of lines(total)) expected.update(line);
    const digest = expected.digest("hex");

    // The listener's Side has attached already, and counts; the client's end is attached here.
    const farSide = await ends.listener.side();
    const nearHash = new Bun.CryptoHasher("sha256");
    let nearBytes = 0;
    const up = sender(ends.near, total);
    const down = sender(far, total);
    ends.near.duplex.attach({
      data: (chunk) => {
        nearHash.update(chunk);
        nearBytes += chunk.length;
      },
      drained: up.drained,
      closed: () => {},
    });
    const pumping = setInterval(down.drained, 1);
    up.drained();
    const most = await Promise.all([up.done, down.done]);
    clearInterval(pumping);
    const size = [...lines(total)].reduce((sum, line) => sum + Buffer.byteLength(line), 0);
    await eventually("all bytes", () => nearBytes === size && farSide.bytes === size, 20_000);
    expect(nearHash.digest("hex")).toBe(digest);
    const farHash = new Bun.CryptoHasher("sha256");
    for (const chunk of farSide.chunks) farHash.update(chunk);
    expect(farHash.digest("hex")).toBe(digest);
    expect(Math.max(...most)).toBeLessThan(2 * MiB);
    ends.near.duplex.close();
  }, 30_000);

  test("one write of 8 MiB, more than may be queued, arrives whole", async () => {
    using ends = await pair(MiB);
    const far = await ends.listener.side();
    const near = new Side(ends.near);
    far.peer.duplex.write("y".repeat(8 * MiB));
    await eventually("8 MiB", () => near.bytes === 8 * MiB);
    near.peer.duplex.close();
  });

  test("what was written before close still arrives, then the end", async () => {
    using ends = await pair(MiB);
    const far = await ends.listener.side();
    const near = new Side(ends.near);
    far.peer.duplex.write("z".repeat(4 * MiB));
    far.peer.duplex.close();
    expect(await near.ended()).toBeUndefined();
    expect(near.bytes).toBe(4 * MiB);
    expect(await far.ended()).toBeUndefined();
  });

  test("a peer that does not read is closed when its queue is full, and is told nothing else", async () => {
    using ends = await pair(MiB);
    const far = await ends.listener.side();
    const near = new Side(ends.near);
    near.peer.duplex.pause();
    let most = 0;
    while (far.closedWith === undefined) {
      far.peer.duplex.write("w".repeat(100_000));
      most = Math.max(most, far.peer.duplex.queuedBytes);
      await new Promise(setImmediate);
    }
    expect(far.closedWith.reason?.code).toBe("too_large");
    expect(far.closedWith.reason?.message).toContain("the limit is 1048576");
    expect(most).toBeLessThan(MiB + 200_000);
    near.peer.duplex.resume();
    await near.ended();
  });

  test("pausing holds the sender back, and resuming brings everything", async () => {
    using ends = await pair(64 * MiB);
    const far = await ends.listener.side();
    const near = new Side(ends.near);
    near.peer.duplex.pause();
    far.peer.duplex.write("v".repeat(32 * MiB));
    await eventually("a full connection", () => far.peer.duplex.queuedBytes > 0);
    const held = near.bytes;
    expect(held).toBeLessThan(MiB);
    near.peer.duplex.resume();
    await eventually("the rest", () => near.bytes === 32 * MiB);
    near.peer.duplex.close();
  });
});
