import { describe, expect, test } from "bun:test";
import { VeripyError } from "../../src/base/errors.ts";
import {
  emptyPayload,
  maxPayloadDepth,
  parseAnswer,
  parsePayload,
  syncResponse,
} from "../../src/protocol/messages.ts";

/** `{"a":{"a":…}}` with so many nested objects. */
const nested = (depth: number) => `${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`;

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
  } catch (error) {
    return error instanceof VeripyError ? error.code : `not a VeripyError: ${error}`;
  }
  return undefined;
}

describe("a payload's depth", () => {
  test("is accepted up to the limit; one level more is refused before parsing", () => {
    expect(parsePayload(emptyPayload, nested(maxPayloadDepth))).toEqual({});
    expect(codeOf(() => parsePayload(emptyPayload, nested(maxPayloadDepth + 1)))).toBe("bad_request");
    expect(codeOf(() => parseAnswer(emptyPayload, nested(maxPayloadDepth + 1)))).toBe("protocol_error");
  });

  test("of a hostile server's report fails only that answer, and quickly", () => {
    const report = { mod: "m.ts", sum: "0".repeat(64) };
    const json = JSON.stringify({ modules: [report] }).replace("}]", `,"input":${nested(1_000_000)}}]`);
    const begun = performance.now();
    expect(codeOf(() => parseAnswer(syncResponse, json))).toBe("protocol_error");
    expect(performance.now() - begun).toBeLessThan(200);
  });
});

test.each([["{"], ["{x}"], ['{"a":1,}'], ["{} {}"]])(
  "%j, where no field is asked for, is refused",
  (json) => {
    expect(codeOf(() => parsePayload(emptyPayload, json))).toBe("bad_request");
  },
);
