import { expect, test } from "bun:test";
import { defaultLimits } from "../../src/base/limits.ts";
import { camelKeys, snakeKeys } from "../../src/base/snake-case.ts";

test("field names change, and change back", () => {
  const program = { mod: "a.ts", p50Ms: 1, inFlight: 2, maxHandshakesPerAddress: 3 };
  const wire = { mod: "a.ts", p50_ms: 1, in_flight: 2, max_handshakes_per_address: 3 };
  expect(snakeKeys(program)).toEqual(wire);
  expect(camelKeys(wire)).toEqual(program);
  expect(camelKeys(snakeKeys(defaultLimits))).toEqual({ ...defaultLimits });
});

test("what is inside a value is not touched: it may be a module's", () => {
  const input = { type: "object", additionalProperties: false };
  expect(snakeKeys({ input })).toEqual({ input });
  expect(camelKeys({ input: { max_items: 1 } })).toEqual({ input: { max_items: 1 } });
});

test("a field that is called like a part of every object is a field like others", () => {
  const odd = JSON.parse('{"__proto__":{"polluted":1},"constructor":2}') as object;
  expect(JSON.stringify(snakeKeys(odd))).toBe(JSON.stringify(odd));
  expect(camelKeys(odd)).not.toHaveProperty("polluted");
});
