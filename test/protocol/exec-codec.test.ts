import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { VeripyError } from "../../src/base/errors.ts";
import {
  decodeExecAnswer,
  decodeExecPart,
  decodeExecProgress,
  decodeExecRequest,
  type ExecRequestForm,
  encodeExecAnswer,
  encodeExecPart,
  encodeExecProgress,
  encodeExecRequest,
  execAnswerForm,
  execRequestForm,
} from "../../src/protocol/exec-codec.ts";
import { decodeFrame, encodeFrame, Frame, FrameDecoder } from "../../src/protocol/frame.ts";
import {
  execPart,
  execProgress,
  execRequest,
  execResponse,
  parseAnswer,
  parsePayload,
} from "../../src/protocol/messages.ts";

const digest = fc.constantFrom("a".repeat(64), "b".repeat(64));
const mod = fc.constantFrom("hello.ts", "other.ts", 'quo"te.ts', "ünï😀.ts");
/** Everything a string can hold: quotes, control characters, half of a surrogate pair. */
const text = fc.string({
  unit: fc.oneof(fc.string({ unit: "grapheme" }), fc.constantFrom('"', "\\", "\ud800", "\0", "\n")),
  maxLength: 20,
});
const ref = fc.stringMatching(/^[A-Za-z0-9_.-]{1,8}$/);

const request = fc.record(
  { mod, args: text, tree: digest, timeout_ms: fc.integer({ min: 1 }) },
  { requiredKeys: ["mod", "args"] },
);
const answer = fc.record({ mod, result: text, sum: digest, tree: digest });

/** As our side writes it, as Python's `json` does, and with an unknown field. */
function written<T extends object>(value: fc.Arbitrary<T>): fc.Arbitrary<string> {
  return fc.oneof(
    value.map((each) => JSON.stringify(each)),
    value.map((each) => JSON.stringify(each, null, 1)),
    value.map((each) => JSON.stringify({ extra: [1], ...each })),
  );
}

/** The payload in the middle of a text, as a decoder hands it over. */
function frameOf(type: string, json: string): Frame {
  const before = `mod:${type}:1 {"args":"\n`;
  return new Frame(
    "mod",
    type,
    `${before}${json}\n"}\n`,
    5 + type.length,
    6 + type.length,
    before.length,
    before.length + json.length,
  );
}

function outcomeOf(decode: () => unknown): unknown {
  try {
    return decode();
  } catch (error) {
    if (error instanceof VeripyError) return `${error.code}: ${error.message}`;
    throw error;
  }
}

/** The line, read the way a connection reads it. */
function framed(line: string): Frame {
  const frames: Frame[] = [];
  new FrameDecoder(1_000_000).push(new TextEncoder().encode(line), (frame) => frames.push(frame));
  expect(frames).toHaveLength(1);
  return frames[0] as Frame;
}

/** `damaged` texts of `good`: a piece inserted, or written over a character. */
function forEachDamage(good: string, check: (damaged: string) => void): void {
  fc.assert(
    fc.property(fc.nat(good.length), fc.string({ unit: "binary-ascii", maxLength: 3 }), (at, piece) => {
      check(good.slice(0, at) + piece + good.slice(at));
      check(good.slice(0, at) + piece + good.slice(at + 1));
    }),
  );
}

describe("an exec request", () => {
  function decoded(json: string, last?: ExecRequestForm): { outcome: unknown; form?: ExecRequestForm } {
    let form: ExecRequestForm | undefined;
    const outcome = outcomeOf(() => {
      const request = decodeExecRequest(frameOf("exec", json), last);
      form = request.form;
      const { mod, tree, timeoutMs } = form;
      return { mod, args: JSON.parse(request.argsJson), tree, timeout_ms: timeoutMs };
    });
    return form === undefined ? { outcome } : { outcome, form };
  }
  const bySchema = (json: string) => outcomeOf(() => parsePayload(execRequest, json));

  test("is encoded as JSON.stringify encodes what the schema describes", () => {
    fc.assert(
      fc.property(ref, request, (ref, fields) => {
        const { mod, args, tree, timeout_ms } = fields;
        const line = encodeExecRequest(ref, execRequestForm(mod, tree, timeout_ms), args);
        expect(line).toBe(encodeFrame("mod", "exec", ref, JSON.stringify({ mod, args, tree, timeout_ms })));
        expect(parsePayload(execRequest, decodeFrame(line.slice(0, -1)).json)).toEqual(fields);
      }),
    );
  });

  test("crosses a connection unchanged, whether or not the request before it was alike", () => {
    fc.assert(
      fc.property(ref, request, request, (ref, { mod, args, tree, timeout_ms }, other) => {
        const form = execRequestForm(mod, tree, timeout_ms);
        // A lone surrogate is escaped, so that UTF-8 can carry it.
        const frame = framed(encodeExecRequest(ref, form, args));
        for (const last of [undefined, form, execRequestForm(other.mod, other.tree, other.timeout_ms)]) {
          const decoded = decodeExecRequest(frame, last);
          expect(decoded.form).toEqual(form);
          expect(JSON.parse(decoded.argsJson)).toBe(args);
        }
      }),
    );
  });

  test("is decoded as the schema parses it, in any sequence of requests", () => {
    fc.assert(
      fc.property(fc.array(written(request), { maxLength: 12 }), (sequence) => {
        let last: ExecRequestForm | undefined;
        for (const json of [...sequence, ...sequence]) {
          const { outcome, form } = decoded(json, last);
          expect(outcome).toEqual(bySchema(json));
          last = form ?? last;
        }
      }),
    );
  });

  test("that is damaged in one place is decoded as the schema parses it, after a sound one", () => {
    const fields = { mod: "hello.ts", args: "World", tree: "a".repeat(64), timeout_ms: 1000 };
    const form = execRequestForm(fields.mod, fields.tree, fields.timeout_ms);
    forEachDamage(JSON.stringify(fields), (damaged) =>
      expect(decoded(damaged, form).outcome).toEqual(bySchema(damaged)),
    );
  });

  const tree = "a".repeat(64);
  test.each([
    [`{"mod":"hello.ts","args":"a","args":"b","tree":"${tree}"}`],
    [`{"mod":"hello.ts","args":"a","mod":"evil.ts","x":"","tree":"${tree}"}`],
    [`{"mod":"hello.ts","args":["a"],"tree":"${tree}"}`],
    [`{"mod":"hello.ts","args":null,"tree":"${tree}"}`],
    [`{"mod":"hello.ts","args":,"tree":"${tree}"}`],
    [`{"mod":"hello.ts","args":"a"}`],
  ])(
    "%s is decoded as the schema parses it, after one with the same text around its arguments",
    (tampered) => {
      expect(decoded(tampered, execRequestForm("hello.ts", tree, undefined)).outcome).toEqual(
        bySchema(tampered),
      );
    },
  );
});

describe("an exec answer", () => {
  const bySchema = (json: string) => outcomeOf(() => parseAnswer(execResponse, json));

  test("is encoded as JSON.stringify encodes what the schema describes", () => {
    fc.assert(
      fc.property(ref, answer, (ref, { mod, result, sum, tree }) => {
        const line = encodeExecAnswer(ref, execAnswerForm({ mod, sum, tree }), JSON.stringify(result));
        expect(line).toBe(encodeFrame("mod", "exec_resp", ref, JSON.stringify({ mod, result, sum, tree })));
        expect(parseAnswer(execResponse, decodeFrame(line.slice(0, -1)).json)).toEqual({
          mod,
          result,
          sum,
          tree,
        });
      }),
    );
  });

  test("crosses a connection unchanged, whichever version was expected", () => {
    fc.assert(
      fc.property(ref, answer, answer, (ref, { result, ...version }, other) => {
        const form = execAnswerForm(version);
        const frame = framed(encodeExecAnswer(ref, form, JSON.stringify(result)));
        for (const expected of [undefined, form, execAnswerForm(other)])
          expect(decodeExecAnswer(frame, expected)).toEqual({ ...version, result });
      }),
    );
  });

  test("is decoded as the schema parses it, however it is written and whichever version was expected", () => {
    const failure = fc.record({
      error: fc.string(),
      code: fc.constantFrom("busy", "exec_failed", "new_code"),
    });
    fc.assert(
      fc.property(written(fc.oneof(answer, failure)), answer, (json, expected) => {
        expect(
          outcomeOf(() => decodeExecAnswer(frameOf("exec_resp", json), execAnswerForm(expected))),
        ).toEqual(bySchema(json));
      }),
    );
  });

  test("that is damaged in one place is decoded as the schema parses it", () => {
    const version = { mod: "hello.ts", sum: "a".repeat(64), tree: "b".repeat(64) };
    const { mod, sum, tree } = version;
    forEachDamage(JSON.stringify({ mod, result: "World", sum, tree }), (damaged) => {
      const frame = frameOf("exec_resp", damaged);
      expect(outcomeOf(() => decodeExecAnswer(frame, execAnswerForm(version)))).toEqual(bySchema(damaged));
    });
  });
});

describe("what comes before an answer", () => {
  test("a part is encoded and decoded as its schema describes it", () => {
    fc.assert(
      fc.property(fc.nat(), text, (seq, data) => {
        const json = encodeExecPart(seq, JSON.stringify(data));
        expect(json).toBe(JSON.stringify({ seq, data }));
        expect(decodeExecPart(frameOf("exec_part", json))).toEqual(parseAnswer(execPart, json));
        expect(decodeExecPart(frameOf("exec_part", json))).toEqual({ seq, data });
      }),
    );
  });

  test("progress is encoded and decoded as its schema describes it", () => {
    const progress = fc.record(
      { fraction: fc.double({ min: 0, max: 1, noNaN: true }).map((each) => each + 0), message: text },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(progress, (progress) => {
        const json = encodeExecProgress(progress);
        expect(decodeExecProgress(frameOf("exec_progress", json))).toEqual(parseAnswer(execProgress, json));
        expect(decodeExecProgress(frameOf("exec_progress", json))).toEqual(progress);
      }),
    );
  });

  test.each([['{"seq":-1,"data":""}'], ['{"seq":0.5,"data":""}'], ['{"seq":0}'], ['{"seq":0,"data":["x"]}']])(
    "the part %s is a protocol error",
    (json) => {
      expect(() => decodeExecPart(frameOf("exec_part", json))).toThrow(
        expect.objectContaining({ code: "protocol_error" }),
      );
    },
  );
});
