import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { z } from "zod";
import { unquote } from "../../src/base/json-string.ts";
import {
  decodeAbort,
  decodeClient,
  decodeCredit,
  decodeDone,
  decodeExec,
  decodePart,
  decodePlainArgs,
  encodeAbort,
  encodeClient,
  encodeCredit,
  encodeDone,
  encodeExec,
  encodePart,
} from "../../src/host/call-codec.ts";
import { encodeFrame, Frame, FrameDecoder } from "../../src/protocol/frame.ts";

/** Everything a string can hold: quotes, control characters, half of a surrogate pair. */
const text = fc.string({
  unit: fc.oneof(fc.string({ unit: "grapheme" }), fc.constantFrom('"', "\\", "\ud800", "\0", "\n")),
  maxLength: 20,
});
const number = fc.nat();

// The payloads as src/host/protocol.ts describes them.
const exec = z.strictObject({ args: z.string(), client: z.number(), ref: z.string() });
const done = z.strictObject({ result: z.string() });
const part = z.strictObject({ data: z.string() });

/** The line, read the way a channel reads it. */
function framed(line: string): Frame {
  const frames: Frame[] = [];
  new FrameDecoder(1_000_000).push(new TextEncoder().encode(line), (frame) => frames.push(frame));
  expect(frames).toHaveLength(1);
  return frames[0] as Frame;
}

/** The payload in the middle of a text, as a decoder hands it over. */
function frameOf(json: string): Frame {
  const before = 'host:done:1 {"result":"\n';
  return new Frame(
    "host",
    "done",
    `${before}${json}"}\n`,
    10,
    11,
    before.length,
    before.length + json.length,
  );
}

/** What the schema makes of a payload; undefined for one that it refuses. */
function bySchema<T>(schema: z.ZodType<T>, json: string): T | undefined {
  try {
    return schema.safeParse(JSON.parse(json)).data;
  } catch {
    return undefined;
  }
}

describe("what the server sends", () => {
  test("a call crosses unchanged, and is what its schema describes", () => {
    fc.assert(
      fc.property(
        number,
        text,
        number,
        fc.stringMatching(/^[A-Za-z0-9_.-]{1,64}$/),
        (ref, args, client, clientRef) => {
          const fields = { args, client, ref: clientRef };
          const line = encodeExec(ref, JSON.stringify(args), client, clientRef);
          expect(line).toBe(encodeFrame("host", "exec", String(ref), JSON.stringify(fields)));
          const frame = framed(line);
          expect(frame.refNumber).toBe(ref);
          expect(decodeExec(frame)).toEqual(fields);
          expect(bySchema(exec, frame.json)).toEqual(fields);
          expect(decodePlainArgs(frame) ?? args).toBe(args);
        },
      ),
    );
  });

  test("short arguments without escapes need no parser", () => {
    expect(decodePlainArgs(framed(encodeExec(1, '"Wörld"', 2, "r")))).toBe("Wörld");
    expect(decodePlainArgs(framed(encodeExec(1, '"a\\nb"', 2, "r")))).toBeUndefined();
  });

  test("an abort, a credit and a client cross unchanged", () => {
    const client = fc.record({ fingerprint: text, name: text }, { requiredKeys: ["fingerprint"] });
    fc.assert(
      fc.property(number, text, number, client, (ref, reason, parts, client) => {
        expect(decodeAbort(framed(encodeAbort(ref, reason)))).toBe(reason);
        expect(decodeCredit(framed(encodeCredit(ref, parts)))).toBe(parts);
        expect(decodeClient(framed(encodeClient(ref, client)))).toEqual({ number: ref, client });
        for (const line of [encodeAbort(ref, reason), encodeCredit(ref, parts), encodeClient(ref, client)])
          expect(framed(line).refNumber).toBe(ref);
      }),
    );
  });
});

describe("what a module host sends", () => {
  test("a result and a part cross unchanged, and are what their schemas describe", () => {
    fc.assert(
      fc.property(number, text, (ref, value) => {
        const line = encodeDone(String(ref), value);
        expect(line).toBe(encodeFrame("host", "done", String(ref), JSON.stringify({ result: value })));
        expect(JSON.parse(decodeDone(framed(line)) ?? "")).toBe(value);
        expect(bySchema(done, framed(line).json)).toEqual({ result: value });
        const json = encodePart(JSON.stringify(value));
        expect(json).toBe(JSON.stringify({ data: value }));
        expect(JSON.parse(decodePart(frameOf(json)) ?? "")).toBe(value);
        expect(bySchema(part, json)).toEqual({ data: value });
      }),
    );
  });

  test("nothing is decoded that the schema refuses, or parses differently", () => {
    const payload = fc.oneof(
      text.map((value) => JSON.stringify({ result: value })),
      text.map((value) => JSON.stringify({ data: value })),
      fc.json(),
    );
    fc.assert(
      fc.property(
        payload,
        fc.nat(60),
        fc.string({ unit: "binary-ascii", maxLength: 3 }),
        (json, at, piece) => {
          for (const damaged of [
            json,
            json.slice(0, at) + piece + json.slice(at),
            json.slice(0, at) + piece + json.slice(at + 1),
          ]) {
            const [result, data] = [decodeDone(frameOf(damaged)), decodePart(frameOf(damaged))];
            if (result !== undefined) expect(bySchema(done, damaged)).toEqual({ result: unquote(result) });
            if (data !== undefined) expect(bySchema(part, damaged)).toEqual({ data: unquote(data) });
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  test.each([
    ['{"result":"a","result":"b"}'],
    ['{"result":"a","x":"b"}'],
    ['{"result":["a"]}'],
    ['{"result":null}'],
    ['{"result":"a"'],
    ['{"result":"\n"}'],
    ['{"data":"a"}'],
    ["{}"],
  ])("%s is not a result", (json) => {
    expect(decodeDone(frameOf(json))).toBeUndefined();
  });
});
