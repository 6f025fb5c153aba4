import { expect, test } from "bun:test";
import fc from "fast-check";
import { CallTable } from "../../../src/host/parent/call-refs.ts";

test("a reference is one call's from add to release, whatever the order", () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ what: fc.constantFrom("add", "remove", "release"), at: fc.nat() })),
      (steps) => {
        const table = new CallTable<string>();
        const [held, removed] = [new Map<number, string>(), [] as number[]];
        for (const [index, { what, at }] of steps.entries()) {
          const refs = [...held.keys()];
          if (what === "add") {
            const ref = table.add(`call ${index}`);
            expect(held.has(ref) || removed.includes(ref)).toBe(false);
            held.set(ref, `call ${index}`);
          } else if (what === "remove" && refs.length > 0) {
            const ref = refs[at % refs.length] as number;
            table.remove(ref);
            held.delete(ref);
            removed.push(ref);
          } else if (what === "release" && removed.length > 0) {
            table.release(removed.splice(at % removed.length, 1)[0] as number);
          }
          expect(table.size).toBe(held.size);
          expect(table.values().sort()).toEqual([...held.values()].sort());
          for (const [ref, call] of held) expect(table.get(ref)).toBe(call);
          for (const ref of [...removed, -1, 1e9, Number.NaN]) expect(table.get(ref)).toBeUndefined();
        }
        table.clear();
        expect([table.size, table.values(), table.add("anew")]).toEqual([0, [], 0]);
      },
    ),
  );
});

test("references stay small, so that they cost no string", () => {
  const table = new CallTable<number>();
  for (let call = 0; call < 1_000; call++) {
    const ref = table.add(call);
    expect(ref).toBe(0);
    table.remove(ref);
    table.release(ref);
  }
});
