import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { VeripyError } from "../../src/base/errors.ts";
import {
  type CloseReason,
  type RawSocket,
  SocketDuplex,
  type SocketDuplexOptions,
} from "../../src/protocol/duplex.ts";
import { eventually } from "../helpers/within.ts";

/** A socket that takes as many bytes as it is told to, and fires `close` from within `terminate`, as Bun's does. */
class ScriptedSocket implements RawSocket {
  /** What the next writes take; all, when there is no entry left. */
  readonly takes: number[] = [];
  written = "";
  readonly calls: string[] = [];
  duplex: SocketDuplex | undefined;

  write(data: Uint8Array): number {
    const taken = Math.min(this.takes.shift() ?? data.length, data.length);
    if (taken > 0) this.written += Buffer.from(data.subarray(0, taken)).toString("latin1");
    return taken;
  }

  end(): void {
    this.calls.push("end");
  }

  terminate(): void {
    this.calls.push("terminate");
    this.duplex?.ended(undefined);
  }

  pause(): void {
    this.calls.push("pause");
  }

  resume(): void {
    this.calls.push("resume");
  }
}

function setUp(options: Partial<SocketDuplexOptions> = {}) {
  const socket = new ScriptedSocket();
  const duplex = new SocketDuplex(socket, { maxQueuedBytes: 100, ...options });
  socket.duplex = duplex;
  const events: string[] = [];
  const reasons: CloseReason[] = [];
  const attach = (onData?: () => void) =>
    duplex.attach({
      data: (chunk) => {
        events.push(Buffer.from(chunk).toString());
        onData?.();
      },
      drained: () => events.push("drained"),
      closed: (reason) => {
        events.push("closed");
        reasons.push(reason);
      },
    });
  return { socket, duplex, events, reasons, attach };
}

/** Lets everything that is due at the end of this turn happen. */
const turn = () => new Promise<void>(setImmediate);
const bytes = (text: string) => new TextEncoder().encode(text);
const broken = new VeripyError("unreachable", "broken");

describe("writing", () => {
  test("what is written in one turn leaves in one write, in order", async () => {
    const { socket, duplex } = setUp();
    socket.takes.push(3);
    for (const text of ["a", "b", "c"]) duplex.write(text);
    expect(socket.written).toBe("");
    expect(duplex.queuedBytes).toBe(3);
    await turn();
    expect(socket.written).toBe("abc");
    expect(socket.takes).toEqual([]);
    expect(duplex.queuedBytes).toBe(0);
  });

  test("whatever the socket takes at a time, every byte arrives once and in order", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: "grapheme", maxLength: 20 }), { maxLength: 12 }),
        fc.array(fc.nat(15), { maxLength: 60 }),
        async (texts, takes) => {
          const { socket, duplex, attach } = setUp({ maxQueuedBytes: 100_000 });
          attach();
          socket.takes.push(...takes);
          for (const text of texts) {
            duplex.write(text);
            await Promise.resolve();
            duplex.writable();
          }
          await Promise.resolve();
          for (let rounds = 0; duplex.queuedBytes > 0 && rounds < 1_000; rounds++) duplex.writable();
          expect(socket.written).toBe(Buffer.from(texts.join("")).toString("latin1"));
        },
      ),
    );
  });

  test("a queue at its limit is kept, one byte more and the peer is closed, with the reason", async () => {
    for (const [last, isClosed] of [
      [90, false],
      [91, true],
    ] as const) {
      const { socket, duplex, reasons, attach } = setUp();
      attach();
      // Nothing of the first write, nor when it is tried again because the second one would be too much.
      socket.takes.push(0, 0);
      duplex.write("a".repeat(10));
      await turn();
      duplex.write("b".repeat(last));
      await turn();
      expect(duplex.isClosed).toBe(isClosed);
      expect(reasons.map((reason) => reason?.code)).toEqual(isClosed ? ["too_large"] : []);
      expect(socket.calls).toEqual(isClosed ? ["terminate"] : []);
    }
  });

  test("one text alone may be larger than the queue", async () => {
    const { socket, duplex } = setUp();
    socket.takes.push(10);
    duplex.write("a".repeat(1_000));
    await turn();
    expect(duplex.isClosed).toBe(false);
    duplex.writable();
    expect(socket.written).toHaveLength(1_000);
  });

  test("drained comes once the queue was over the mark and is empty again, and only then", async () => {
    const { socket, duplex, events, attach } = setUp({ highWaterBytes: 10 });
    attach();
    socket.takes.push(0, 5, 4);
    duplex.write("a".repeat(11));
    await turn();
    expect(duplex.isHigh).toBe(true);
    duplex.writable();
    duplex.writable();
    expect(events).toEqual([]);
    duplex.writable();
    expect(events).toEqual(["drained"]);
    expect(duplex.isHigh).toBe(false);
    socket.takes.push(0);
    duplex.write("a".repeat(10));
    await turn();
    duplex.writable();
    expect(events).toEqual(["drained"]);
  });

  test("nothing is written after the end", async () => {
    const { socket, duplex } = setUp();
    duplex.write("a");
    duplex.abort(broken);
    duplex.write("b");
    await turn();
    expect(socket.written).toBe("");
    expect(duplex.queuedBytes).toBe(0);
  });
});

describe("ending", () => {
  test("close lets what is queued leave, then ends the socket, once", async () => {
    const { socket, duplex, events, attach } = setUp();
    attach();
    socket.takes.push(1);
    duplex.write("abc");
    duplex.close();
    duplex.close();
    duplex.write("too late");
    expect(socket.calls).toEqual([]);
    duplex.writable();
    expect(socket.written).toBe("abc");
    expect(socket.calls).toEqual(["end"]);
    duplex.ended(undefined);
    expect(events).toEqual(["closed"]);
  });

  test("a peer that does not take the rest holds the connection no longer than that", async () => {
    const { socket, duplex, events, reasons, attach } = setUp({ closeMs: 20 });
    attach();
    socket.takes.push(0);
    duplex.write("abc");
    duplex.close();
    await eventually("the end", () => events.length > 0);
    expect(socket.calls).toEqual(["terminate"]);
    expect(reasons).toEqual([undefined]);
  });

  test("closed comes exactly once and last, with the first reason, whatever comes together", () => {
    const moves = {
      abort: ({ duplex }: ReturnType<typeof setUp>) => duplex.abort(broken),
      close: ({ duplex }: ReturnType<typeof setUp>) => duplex.close(),
      ended: ({ duplex }: ReturnType<typeof setUp>) => duplex.ended(undefined),
      data: ({ duplex }: ReturnType<typeof setUp>) => duplex.received(bytes("x")),
      drain: ({ duplex }: ReturnType<typeof setUp>) => duplex.writable(),
    };
    const names = fc.constantFrom(...(Object.keys(moves) as (keyof typeof moves)[]));
    fc.assert(
      fc.property(fc.array(names, { maxLength: 8 }), (sequence) => {
        const all = setUp();
        all.attach();
        for (const name of sequence) moves[name](all);
        const end = sequence.find((name) => name === "abort" || name === "ended");
        expect(all.events.filter((event) => event === "closed")).toHaveLength(end === undefined ? 0 : 1);
        if (end !== undefined) {
          expect(all.events.at(-1)).toBe("closed");
          expect(all.reasons).toEqual([end === "abort" ? broken : undefined]);
        }
        // Leaves no timer of `close` behind.
        all.duplex.ended(undefined);
      }),
    );
  });
});

describe("before anybody listens", () => {
  test("what arrives is kept and delivered in order, then what comes later", async () => {
    const { duplex, events, attach } = setUp();
    const chunk = bytes("first");
    duplex.received(chunk);
    chunk.fill(0);
    attach();
    duplex.received(bytes("second"));
    expect(events).toEqual([]);
    await turn();
    duplex.received(bytes("third"));
    expect(events).toEqual(["first", "second", "third"]);
  });

  test("an end is kept too, with its reason, and is told after what arrived", async () => {
    const { duplex, events, reasons, attach } = setUp();
    duplex.received(bytes("last words"));
    duplex.ended(broken);
    duplex.ended(undefined);
    attach();
    await turn();
    expect(events).toEqual(["last words", "closed"]);
    expect(reasons).toEqual([broken]);
  });

  test("as much as may be queued is kept, one byte more ends it", async () => {
    for (const [count, isClosed] of [
      [100, false],
      [101, true],
    ] as const) {
      const { duplex, events, reasons, attach } = setUp();
      duplex.received(bytes("a".repeat(count)));
      expect(duplex.isClosed).toBe(isClosed);
      attach();
      await turn();
      expect(events).toEqual([isClosed ? "closed" : "a".repeat(100)]);
      expect(reasons.map((reason) => reason?.code)).toEqual(isClosed ? ["too_large"] : []);
    }
  });

  test("a reader that aborts at the first piece gets no second one", async () => {
    const { duplex, events, attach } = setUp();
    duplex.received(bytes("first"));
    duplex.received(bytes("second"));
    attach(() => duplex.abort(broken));
    await turn();
    expect(events).toEqual(["first", "closed"]);
  });
});
