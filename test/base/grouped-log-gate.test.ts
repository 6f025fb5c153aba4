import { describe, expect, test } from "bun:test";
import { GroupedLogGate, suppressedNote } from "../../src/base/grouped-log-gate.ts";

/** From the beginning of a second, so that what follows at once falls into one. */
const untilNextSecond = () => Bun.sleep(1_000 - (performance.now() % 1_000) + 1);

function gateWithClock() {
  let now = 0;
  const gate = new GroupedLogGate(() => now);
  const pass = (ms: number) => {
    now += ms;
  };
  return { gate, pass };
}

describe("a grouped log gate", () => {
  test("lets a line of a group pass once within ten seconds, then with the count of those that did not", () => {
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

  test("lets five different lines of a group pass, whatever else it says, and those of another group", async () => {
    await untilNextSecond();
    const { gate } = gateWithClock();
    const passed = Array.from({ length: 100 }, (_, line) => gate.pass("a", `${line}`));
    expect(passed.filter((count) => count !== undefined)).toEqual([0, 0, 0, 0, 0]);
    expect(gate.pass("b", "0")).toBe(0);
  });

  test("lets ten lines a second pass, from however many groups, even more than it remembers", async () => {
    await untilNextSecond();
    const { gate } = gateWithClock();
    const flood = () => {
      let passed = 0;
      for (let group = 0; group < 5_000; group++) {
        if (gate.pass(`${group}`, "x") !== undefined) passed += 1;
      }
      return passed;
    };
    expect(flood()).toBe(10);
    await Bun.sleep(1_000);
    expect(flood()).toBe(10);
  });

  test("adds a note only when there is something to say", () => {
    expect(suppressedNote(0, "refusals")).toBe("");
    expect(suppressedNote(3, "refusals")).toBe(" (3 similar refusals suppressed)");
  });
});
