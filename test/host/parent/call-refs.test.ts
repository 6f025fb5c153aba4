import { expect, test } from "bun:test";
import fc from "fast-check";
import { CallRefs } from "../../../src/host/parent/call-refs.ts";

test("a reference belongs to one call until that has ended and its abort is confirmed, in any order", () => {
  const step = fc.record({ what: fc.constantFrom("add", "end", "abort", "confirm"), at: fc.nat() });
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const refs = new CallRefs<string>();
      const [running, unconfirmed] = [new Map<number, string>(), new Set<number>()];
      for (const [index, { what, at }] of steps.entries()) {
        const pick = (from: Iterable<number>) => [...from][at % Math.max(1, [...from].length)];
        if (what === "add") {
          const ref = refs.add(`call ${index}`);
          expect(running.has(ref) || unconfirmed.has(ref)).toBe(false);
          running.set(ref, `call ${index}`);
        } else if (what === "confirm") {
          const ref = pick(unconfirmed);
          expect(refs.confirmAbort(ref ?? 0)).toBe(ref !== undefined);
          if (ref !== undefined) unconfirmed.delete(ref);
        } else {
          // A call is aborted once.
          const ref = pick(
            what === "end" ? running.keys() : [...running.keys()].filter((each) => !unconfirmed.has(each)),
          );
          if (ref === undefined) continue;
          if (what === "end") {
            refs.end(ref);
            running.delete(ref);
          } else {
            refs.abort(ref);
            unconfirmed.add(ref);
          }
        }
        expect(refs.size).toBe(running.size);
        expect(refs.values().sort()).toEqual([...running.values()].sort());
        for (const [ref, call] of running) expect(refs.get(ref)).toBe(call);
        for (const ref of [-1, 1e9, Number.NaN]) expect(refs.get(ref)).toBeUndefined();
        for (const ref of unconfirmed) if (!running.has(ref)) expect(refs.get(ref)).toBeUndefined();
      }
      refs.clear();
      expect([refs.size, refs.values(), refs.add("anew")]).toEqual([0, [], 0]);
    }),
  );
});

test("a confirmation that is not due is told apart from one that is", () => {
  const refs = new CallRefs<string>();
  const ref = refs.add("call");
  expect(refs.confirmAbort(ref)).toBe(false);
  refs.abort(ref);
  expect(refs.confirmAbort(ref)).toBe(true);
  expect(refs.confirmAbort(ref)).toBe(false);
});

test("references stay small", () => {
  const refs = new CallRefs<number>();
  for (let call = 0; call < 1_000; call++) {
    expect(refs.add(call)).toBe(0);
    refs.end(0);
  }
});
