import { expect, test } from "bun:test";
import { VeripyError } from "../../src/base/errors.ts";
import { type RawSocket, SocketDuplex } from "../../src/protocol/socket-duplex.ts";

/** A socket that accepts `room` bytes and no more. */
class ScriptedSocket implements RawSocket {
  room = 0;
  taken = "";
  shutdowns = 0;
  terminated = false;
  paused = false;

  write(data: Uint8Array): number {
    const piece = data.subarray(0, this.room);
    this.room -= piece.length;
    this.taken += new TextDecoder().decode(piece);
    return piece.length;
  }
  shutdown(): void {
    this.shutdowns += 1;
  }
  terminate(): void {
    this.terminated = true;
  }
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
}

function open(options: { maxQueuedBytes: number; highWaterBytes?: number }) {
  const socket = new ScriptedSocket();
  const duplex = new SocketDuplex(socket, options);
  const ends: (VeripyError | undefined)[] = [];
  let drains = 0;
  let received = 0;
  duplex.attach({
    data: (chunk) => {
      received += chunk.length;
    },
    drained: () => {
      drains += 1;
    },
    closed: (reason) => void ends.push(reason),
  });
  return { socket, duplex, ends, drains: () => drains, received: () => received };
}

/** Ends a turn; what was written in it is then sent. */
const turn = () => Promise.resolve();

test("what the socket does not accept at once leaves later, complete and in order", async () => {
  const { socket, duplex } = open({ maxQueuedBytes: 100 });
  socket.room = 3;
  duplex.write("first ");
  await turn();
  duplex.write("second ");
  await turn();
  expect(socket.taken).toBe("fir");
  expect(duplex.queuedBytes).toBe(10);
  for (let room = 1; duplex.queuedBytes > 0; room++) {
    socket.room = room;
    duplex.writable();
  }
  expect(socket.taken).toBe("first second ");
});

test("isHigh is set in the same turn in which the queue grows, and drained is called once when it is empty", async () => {
  const { socket, duplex, drains } = open({ maxQueuedBytes: 100, highWaterBytes: 10 });
  socket.room = 5;
  duplex.write("x".repeat(10));
  expect(duplex.isHigh).toBe(false);
  duplex.write("x");
  expect(duplex.isHigh).toBe(true);
  await turn();
  expect(drains()).toBe(0);
  socket.room = 100;
  duplex.writable();
  expect([duplex.isHigh, drains()]).toEqual([false, 1]);
  duplex.write("x".repeat(50));
  expect(duplex.isHigh).toBe(true);
  await turn();
  expect([duplex.isHigh, drains()]).toEqual([false, 2]);
});

test("a queue of exactly the limit is kept; one byte more disconnects a peer that does not read", async () => {
  const { socket, duplex, ends } = open({ maxQueuedBytes: 10 });
  duplex.write("x".repeat(6));
  await turn();
  duplex.write("x".repeat(4));
  await turn();
  expect([duplex.queuedBytes, ends.length]).toEqual([10, 0]);
  duplex.write("x");
  await turn();
  expect(ends.map((reason) => reason?.code)).toEqual(["too_large"]);
  expect(socket.terminated).toBe(true);
});

test("a peer that has read meanwhile is not disconnected, even before its drain event", async () => {
  const { socket, duplex, ends } = open({ maxQueuedBytes: 10 });
  for (let frame = 0; frame < 5; frame++) {
    duplex.write(String(frame).repeat(8));
    await turn();
    socket.room = 8;
  }
  duplex.writable();
  expect(ends).toEqual([]);
  expect(socket.taken).toBe("0".repeat(8) + "1".repeat(8) + "2".repeat(8) + "3".repeat(8) + "4".repeat(8));
});

test("one frame may be larger than the limit", async () => {
  const { socket, duplex, ends } = open({ maxQueuedBytes: 10 });
  duplex.write("x".repeat(50));
  await turn();
  expect([duplex.queuedBytes, ends.length]).toEqual([50, 0]);
  socket.room = 50;
  duplex.writable();
  expect(socket.taken).toHaveLength(50);
});

test("after close, what was written still leaves, then the socket is shut down", async () => {
  const { socket, duplex } = open({ maxQueuedBytes: 100 });
  socket.room = 2;
  duplex.write("goodbye");
  duplex.close();
  duplex.write("too late");
  expect(socket.shutdowns).toBe(0);
  socket.room = 100;
  duplex.writable();
  expect([socket.taken, socket.shutdowns]).toEqual(["goodbye", 1]);
  duplex.writable();
  expect(socket.shutdowns).toBe(1);
});

test("after close, a little of what arrives is discarded, then the socket is no longer read", () => {
  const { socket, duplex, received } = open({ maxQueuedBytes: 100 });
  duplex.received(new Uint8Array(10));
  duplex.pause();
  duplex.close();
  // A paused socket would not see the peer's close.
  expect(socket.paused).toBe(false);
  duplex.pause();
  duplex.received(new Uint8Array(64 * 1024));
  expect(socket.paused).toBe(false);
  duplex.received(new Uint8Array(1));
  expect(socket.paused).toBe(true);
  // A late resume() by its owner does not make it read again.
  duplex.resume();
  expect([socket.paused, socket.terminated, received()]).toEqual([true, false, 10]);
});

test("data that came before a handler was attached is delivered up to a close, and no further", async () => {
  const socket = new ScriptedSocket();
  const duplex = new SocketDuplex(socket, { maxQueuedBytes: 100 });
  duplex.received(new Uint8Array(1));
  duplex.received(new Uint8Array(2));
  const sizes: number[] = [];
  duplex.attach({
    data: (chunk) => {
      sizes.push(chunk.length);
      duplex.close();
    },
    closed: () => {},
  });
  await turn();
  expect(sizes).toEqual([1]);
});

test("data and an end that came before a handler was attached are delivered in order", async () => {
  const duplex = new SocketDuplex(new ScriptedSocket(), { maxQueuedBytes: 100 });
  const reason = new VeripyError("unreachable", "gone");
  duplex.received(new Uint8Array(1));
  duplex.received(new Uint8Array(2));
  duplex.ended(reason);
  const events: unknown[] = [];
  duplex.attach({ data: ({ length }) => events.push(length), closed: (why) => void events.push(why) });
  expect(events).toEqual([]);
  await turn();
  expect(events).toEqual([1, 2, reason]);
});

test("data that comes before a handler is kept up to the limit; one byte more ends the connection", async () => {
  for (const [bytes, expected] of [
    [100, { received: [60, 40], ends: [], terminated: false }],
    [101, { received: [], ends: ["too_large"], terminated: true }],
  ] as const) {
    const socket = new ScriptedSocket();
    const duplex = new SocketDuplex(socket, { maxQueuedBytes: 100 });
    duplex.received(new Uint8Array(60));
    duplex.received(new Uint8Array(bytes - 60));
    const received: number[] = [];
    const ends: unknown[] = [];
    duplex.attach({
      data: ({ length }) => void received.push(length),
      closed: (reason) => void ends.push(reason?.code),
    });
    await turn();
    expect({ received, ends, terminated: socket.terminated } as unknown).toEqual(expected);
  }
});

test("what is written to a congested socket leaves after the frame that is being sent, with lanes taking turns", async () => {
  const { socket, duplex } = open({ maxQueuedBytes: 1_000_000 });
  const part = (name: string) => `${name.repeat(100_000)}\n`;
  socket.room = 1_000;
  for (const name of ["a", "b", "c"]) duplex.write(part(name), false, "stream");
  await turn();
  duplex.write("pong\n", false, "ping");
  duplex.write("answer\n", false, "call");
  duplex.write("end of the stream\n", false, "stream");
  await turn();
  while (duplex.queuedBytes > 0) {
    socket.room = 10_000;
    duplex.writable();
  }
  const order = socket.taken.split("\n").map((line) => (line.length > 100 ? line[0] : line));
  expect(order).toEqual(["a", "pong", "answer", "b", "c", "end of the stream", ""]);
});

test("text without a lane keeps its place before a close, whatever lanes the rest is in", async () => {
  const { socket, duplex } = open({ maxQueuedBytes: 1_000_000 });
  duplex.write("x".repeat(100_000), false, 1);
  await turn();
  duplex.write("2", false, 2);
  duplex.write("bye");
  duplex.write("3", false, 3);
  duplex.close();
  socket.room = 1_000_000;
  duplex.writable();
  expect([socket.taken.replace(/x+/, ""), socket.shutdowns]).toEqual(["2bye3", 1]);
});

test("isFull is set long before isHigh, and drained is called when streams may go on", async () => {
  const { socket, duplex, drains } = open({ maxQueuedBytes: 8_000_000 });
  socket.room = 0;
  duplex.write("x".repeat(64 * 1024));
  expect([duplex.isFull, duplex.isHigh]).toEqual([false, false]);
  duplex.write("x");
  expect([duplex.isFull, duplex.isHigh]).toEqual([true, false]);
  await turn();
  socket.room = 60_000;
  duplex.writable();
  expect([duplex.isFull, drains()]).toEqual([true, 1]);
  socket.room = 60_000;
  duplex.writable();
  expect([duplex.isFull, drains()]).toEqual([false, 2]);
});
