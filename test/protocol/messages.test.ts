import { describe, expect, test } from "bun:test";
import { z } from "zod";
import * as messages from "../../src/protocol/messages.ts";

const { infoResponse, parseAnswer, statsResponse } = messages;

/** Names of fields anywhere in a JSON Schema. */
function fieldsOf(schema: unknown): string[] {
  if (Array.isArray(schema)) return schema.flatMap(fieldsOf);
  if (typeof schema !== "object" || schema === null) return [];
  const { properties = {} } = schema as { properties?: object };
  return [...Object.keys(properties), ...Object.values(schema).flatMap(fieldsOf)];
}

test("every field of every payload is in snake_case", () => {
  const schemas = Object.values(messages).filter((exported) => exported instanceof z.ZodType);
  const fields = schemas.flatMap((schema) =>
    fieldsOf(z.toJSONSchema(schema, { io: "input", unrepresentable: "any" })),
  );
  expect(fields).toContain("timeout_ms");
  expect(fields).toContain("memory_bytes");
  expect(fields.filter((name) => !/^[a-z0-9_]+$/.test(name))).toEqual([]);
});

describe("a payload that a program is given", () => {
  const stats = {
    mod: "a.ts",
    tree: "0".repeat(64),
    current: true,
    state: "idle",
    calls: 1,
    failures: 0,
    restarts: 0,
  };

  test("of a module's statistics has camelCase names", () => {
    const json = JSON.stringify({
      modules: [{ ...stats, in_flight: 2, memory_bytes: 3, p50_ms: 4, p99_ms: 5 }],
    });
    expect(parseAnswer(statsResponse, json).modules).toEqual([
      { ...stats, inFlight: 2, memoryBytes: 3, p50Ms: 4, p99Ms: 5 },
    ]);
  });

  test("of a server's limits has the names of `Limits`", () => {
    const json = JSON.stringify({ server: "x", protocol: 1, limits: { max_line_bytes: 7, some_day: 8 } });
    expect(parseAnswer(infoResponse, json).limits).toEqual({ maxLineBytes: 7, someDay: 8 });
  });

  test("with unknown names where others are required is refused", () => {
    const json = JSON.stringify({ modules: [{ ...stats, inFlight: 2 }] });
    expect(() => parseAnswer(statsResponse, json)).toThrow("modules[0].in_flight");
  });
});
