import { expect, test } from "bun:test";
import fc from "fast-check";
import { FairQueue, type Lane } from "../../src/protocol/fair-queue.ts";

/** The texts in the order in which they leave. */
function drain(queue: FairQueue): string[] {
  const texts: string[] = [];
  for (let next = queue.take(1); next !== ""; next = queue.take(1)) texts.push(next);
  return texts;
}

const long = (name: string) => name.padEnd(20_000, ".");
const names = (texts: string[]) => texts.map((text) => text.replace(/\.+$/, ""));

test("a small answer overtakes what other lanes have queued", () => {
  const queue = new FairQueue();
  for (const part of ["a1", "a2", "a3"]) queue.add(long(part), "a");
  queue.add("pong", "b");
  expect(names(drain(queue))).toEqual(["pong", "a1", "a2", "a3"]);
});

test("a small answer never overtakes what its own lane has queued", () => {
  const queue = new FairQueue();
  queue.add(long("a1"), "a");
  queue.add("end of a", "a");
  expect(names(drain(queue))).toEqual(["a1", "end of a"]);
});

test("long answers of several lanes take turns, one frame each", () => {
  const queue = new FairQueue();
  for (const text of ["a1", "a2", "a3", "b1", "b2", "c1"]) queue.add(long(text), text[0]);
  expect(names(drain(queue))).toEqual(["a1", "b1", "c1", "a2", "b2", "a3"]);
});

test("an endless series of small answers does not keep a long one waiting", () => {
  const queue = new FairQueue();
  queue.add(long("bulk"), "bulk");
  let ahead = 0;
  for (let lane = 0; ; lane++) {
    queue.add("x".repeat(1_000), lane);
    const next = queue.take(1);
    if (next.startsWith("bulk")) break;
    ahead += next.length;
    expect(ahead).toBeLessThan(70_000);
  }
  expect(ahead).toBeGreaterThan(60_000);
});

test("text without a lane leaves after everything added before it and before everything added later", () => {
  const queue = new FairQueue();
  queue.add(long("a1"), "a");
  queue.add("last word", undefined);
  queue.add("b1", "b");
  queue.add(long("a2"), "a");
  expect(names(drain(queue))).toEqual(["a1", "last word", "b1", "a2"]);
});

test("in any sequence of additions each lane stays in order, nothing is lost, and the length is right", () => {
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.record({ lane: fc.integer({ min: 0, max: 4 }), long: fc.boolean() }) },
    { weight: 1, arbitrary: fc.constant("last" as const) },
    { weight: 2, arbitrary: fc.constant("take" as const) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const queue = new FairQueue();
      const sent = new Map<Lane | undefined, string[]>();
      const order: string[] = [];
      let length = 0;
      const add = (lane: Lane | undefined, isLong: boolean) => {
        const text = `${lane ?? "last"}/${order.length + length};`.padEnd(isLong ? 17_000 : 12, "-");
        sent.set(lane, [...(sent.get(lane) ?? []), text]);
        length += text.length;
        queue.add(text, lane);
      };
      for (const each of steps) {
        if (each === "last") add(undefined, false);
        else if (each !== "take") add(each.lane, each.long);
        else {
          const text = queue.take(1);
          if (text !== "") order.push(text);
          length -= text.length;
        }
        expect(queue.length).toBe(length);
      }
      order.push(...drain(queue));
      expect(queue.length).toBe(0);
      for (const [lane, texts] of sent) {
        expect(order.filter((text) => text.startsWith(`${lane ?? "last"}/`))).toEqual(texts);
      }
    }),
  );
});
