import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { messageOf } from "../../src/base/errors.ts";
import { Frame } from "../../src/protocol/frame.ts";
import { execRequest, parsePayload } from "../../src/protocol/messages.ts";
import { ExecRequestReader } from "../../src/server/exec-request.ts";

const tree = "a".repeat(64);

/** What parsing the whole of it gives, which is what the reader must give. */
function whole(json: string): unknown {
  try {
    return parsePayload(execRequest, json);
  } catch (error) {
    return messageOf(error);
  }
}

/** As it comes: with other frames around it. */
function frameOf(json: string): Frame {
  const before = 'mod:exec:1 {"args":"\n';
  return new Frame(
    "mod",
    "exec",
    `${before}${json}\n"}\n`,
    9,
    10,
    before.length,
    before.length + json.length,
  );
}

function read(reader: ExecRequestReader, json: string): unknown {
  try {
    const { argsJson, timeoutMs, ...request } = reader.read(frameOf(json));
    return { ...request, args: JSON.parse(argsJson), timeout_ms: timeoutMs };
  } catch (error) {
    return messageOf(error);
  }
}

const request = fc.record(
  {
    mod: fc.constantFrom("hello.ts", "other.ts", 'quo"te.ts'),
    args: fc.string({ unit: "grapheme", maxLength: 20 }),
    tree: fc.constantFrom(tree, "b".repeat(64)),
    timeout_ms: fc.constantFrom(1000, 30_000),
  },
  { requiredKeys: ["mod", "args"] },
);
/** As our client writes it, as Python's `json` does, and with other keys around. */
const json = fc.oneof(
  request.map((value) => JSON.stringify(value)),
  request.map((value) => JSON.stringify(value, null, 1)),
  request.map((value) => JSON.stringify({ extra: [1], ...value })),
);

describe("an exec request is read as if each were parsed whole", () => {
  test("in any sequence of requests", () => {
    fc.assert(
      fc.property(fc.array(json, { maxLength: 12 }), (sequence) => {
        const reader = new ExecRequestReader();
        for (const text of [...sequence, ...sequence]) expect(read(reader, text)).toEqual(whole(text));
      }),
    );
  });

  test("also when it is damaged in one place after a good one like it", () => {
    const good = JSON.stringify({ mod: "hello.ts", args: "World", tree, timeout_ms: 1000 });
    fc.assert(
      fc.property(fc.nat(good.length), fc.string({ unit: "binary-ascii", maxLength: 3 }), (at, text) => {
        const reader = new ExecRequestReader();
        reader.read(frameOf(good));
        for (const damaged of [
          good.slice(0, at) + text + good.slice(at),
          good.slice(0, at) + text + good.slice(at + 1),
        ])
          expect(read(reader, damaged)).toEqual(whole(damaged));
      }),
    );
  });

  test.each([
    [`{"mod":"hello.ts","args":"a","args":"b","tree":"${tree}"}`],
    [`{"mod":"hello.ts","args":"a","mod":"evil.ts","x":"","tree":"${tree}"}`],
    [`{"mod":"hello.ts","args":["a"],"tree":"${tree}"}`],
    [`{"mod":"hello.ts","args":null,"tree":"${tree}"}`],
    [`{"mod":"hello.ts","args":,"tree":"${tree}"}`],
    [`{"mod":"hello.ts","args":"a"}`],
  ])("%s, after one with the same text around its arguments", (tampered) => {
    const reader = new ExecRequestReader();
    reader.read(frameOf(JSON.stringify({ mod: "hello.ts", args: "World", tree })));
    expect(read(reader, tampered)).toEqual(whole(tampered));
  });
});
