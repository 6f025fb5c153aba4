import { describe, expect, test } from "bun:test";
import { GroupedLogGate } from "../../src/base/grouped-log-gate.ts";

function gateWithClock() {
  let now = 0;
  const gate = new GroupedLogGate(() => now);
  const pass = (ms: number) => {
    now += ms;
  };
  return { gate, pass };
}

describe("a grouped log gate", () => {
  test("lets a line of a group through once in ten seconds, then with the count of those suppressed", () => {
    const { gate, pass } = gateWithClock();
    expect(gate.pass("a", "x")).toBe(0);
    for (let count = 0; count < 50; count++) expect(gate.pass("a", "x")).toBeUndefined();
    pass(9_999);
    expect(gate.pass("a", "x")).toBeUndefined();
    pass(1);
    expect(gate.pass("a", "x")).toBe(51);
    pass(10_000);
    expect(gate.pass("a", "x")).toBe(0);
  });

  test("lets five different lines of a group through, and those of another group too", () => {
    const { gate } = gateWithClock();
    const passed = Array.from({ length: 100 }, (_, line) => gate.pass("a", `${line}`));
    expect(passed.filter((count) => count !== undefined)).toEqual([0, 0, 0, 0, 0]);
    expect(gate.pass("b", "0")).toBe(0);
  });

  test("lets ten lines per second through, even from more groups than it remembers", () => {
    const { gate, pass } = gateWithClock();
    const flood = () => {
      let passed = 0;
      for (let group = 0; group < 5_000; group++) {
        if (gate.pass(`${group}`, "x") !== undefined) passed += 1;
      }
      return passed;
    };
    expect(flood()).toBe(10);
    pass(1_000);
    expect(flood()).toBe(10);
  });
});
