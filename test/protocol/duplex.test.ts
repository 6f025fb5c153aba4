import { expect, test } from "bun:test";
import type { VeripyError } from "../../src/base/errors.ts";
import { type RawSocket, SocketDuplex } from "../../src/protocol/duplex.ts";

/** A socket that takes `room` bytes and no more. */
class ScriptedSocket implements RawSocket {
  room = 0;
  taken = "";
  ended = false;
  terminated = false;

  write(data: Uint8Array): number {
    const piece = data.subarray(0, this.room);
    this.room -= piece.length;
    this.taken += new TextDecoder().decode(piece);
    return piece.length;
  }
  end(): void {
    this.ended = true;
  }
  terminate(): void {
    this.terminated = true;
  }
  pause(): void {}
  resume(): void {}
}

function open(options: { maxQueuedBytes: number; highWaterBytes?: number }) {
  const socket = new ScriptedSocket();
  const duplex = new SocketDuplex(socket, options);
  const ends: (VeripyError | undefined)[] = [];
  let drains = 0;
  duplex.attach({
    data: () => {},
    drained: () => {
      drains += 1;
    },
    closed: (reason) => void ends.push(reason),
  });
  return { socket, duplex, ends, drains: () => drains };
}

/** The end of a turn, when what was written in it leaves. */
const turn = () => Promise.resolve();

test("what the socket does not take at once leaves later, whole and in order", async () => {
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

test("writers learn in the same turn that there is much to send, and once when it has left", async () => {
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

test("a queue of exactly the limit is kept; one byte more ends a peer that takes nothing", async () => {
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

test("a peer that has read meanwhile is not ended, though its drain event is yet to come", async () => {
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

test("after close what was written still leaves, then the socket is ended", async () => {
  const { socket, duplex } = open({ maxQueuedBytes: 100 });
  socket.room = 2;
  duplex.write("goodbye");
  duplex.close();
  duplex.write("too late");
  expect(socket.ended).toBe(false);
  socket.room = 100;
  duplex.writable();
  expect([socket.taken, socket.ended]).toEqual(["goodbye", true]);
});
