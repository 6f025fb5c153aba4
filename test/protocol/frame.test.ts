import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { VeripyError } from "../../src/base/errors.ts";
import { decodeFrame, encodeFrame, Frame, FrameDecoder } from "../../src/protocol/frame.ts";

const encoder = new TextEncoder();
const maxLineBytes = 1024;

function decodeAll(chunks: Uint8Array[], limit = maxLineBytes): Frame[] {
  const decoder = new FrameDecoder(limit);
  const frames: Frame[] = [];
  for (const chunk of chunks) decoder.push(chunk, (frame) => frames.push(frame));
  return frames;
}

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
  } catch (error) {
    return error instanceof VeripyError ? error.code : `not a VeripyError: ${error}`;
  }
  return undefined;
}

const name = fc.stringMatching(/^[a-z_]{1,20}$/);
const ref = fc.stringMatching(/^[A-Za-z0-9_.-]{1,64}$/);
const words = fc.oneof(
  fc.tuple(name, name),
  fc.constantFrom(["mod", "exec"], ["mod", "exec_resp"], ["host", "exec"], ["host", "done"]),
);
const frame = fc
  .record({
    words,
    ref,
    json: fc.dictionary(fc.string(), fc.string({ unit: "grapheme" })).map((value) => JSON.stringify(value)),
  })
  .map(({ words: [api = "", type = ""], ref, json }) =>
    decodeFrame(encodeFrame(api, type, ref, json).trimEnd()),
  );

const fieldsOf = ({ api, type, ref, json }: Frame) => ({ api, type, ref, json });

/** `bytes` cut at the given places. */
function cut(bytes: Uint8Array, places: number[]): Uint8Array[] {
  const at = [0, ...places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return at.slice(1).map((to, index) => bytes.slice(at[index], to));
}

describe("frames", () => {
  test("decoding and encoding gives identical bytes, however they are split into chunks", () => {
    fc.assert(
      fc.property(fc.array(frame, { minLength: 1, maxLength: 8 }), fc.array(fc.nat()), (frames, places) => {
        const text = frames.map(({ api, type, ref, json }) => encodeFrame(api, type, ref, json)).join("");
        const decoded = decodeAll(cut(encoder.encode(text), places), 1 << 20);
        expect(decoded.map(fieldsOf)).toEqual(frames.map(fieldsOf));
        expect(decoded.map(({ api, type, ref, json }) => encodeFrame(api, type, ref, json)).join("")).toBe(
          text,
        );
      }),
    );
  });

  test("frames are the same when they arrive byte by byte as in one piece", () => {
    const text = 'mod:sync:1 {}\nmod:exec:e2 {"args":"Grüße 🚀\\u2028"}\nsys:ping:x.-_ {}\n';
    const bytes = encoder.encode(text);
    const single = [...bytes].map((byte) => Uint8Array.of(byte));
    expect(decodeAll(single).map(fieldsOf)).toEqual(decodeAll([bytes]).map(fieldsOf));
    expect(decodeAll(single)).toHaveLength(3);
  });

  test("a carriage return before the newline is whitespace of the payload", () => {
    expect(JSON.parse(decodeAll([encoder.encode('mod:sync:1 {"a":1}\r\n')])[0]?.json ?? "")).toEqual({
      a: 1,
    });
  });

  test("a line of exactly the limit is accepted, one byte more is not, however it is split into chunks", () => {
    const head = 'mod:exec:1 {"args":"';
    const line = (length: number) => `${head}${"x".repeat(length - head.length - 2)}"}`;
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 4 }), (places) => {
        expect(decodeAll(cut(encoder.encode(`${line(maxLineBytes)}\n`), places))).toHaveLength(1);
        const bytes = encoder.encode(`${line(maxLineBytes + 1)}\n`);
        expect(codeOf(() => decodeAll(cut(bytes, places)))).toBe("too_large");
      }),
    );
  });

  test("the limit counts bytes, not characters", () => {
    const line = `mod:exec:1 {"args":"${"ü".repeat(maxLineBytes / 2)}"}\n`;
    expect(line.length).toBeLessThan(maxLineBytes);
    expect(codeOf(() => decodeAll([encoder.encode(line)]))).toBe("too_large");
  });

  test("an unfinished line is refused as soon as it exceeds the limit", () => {
    const decoder = new FrameDecoder(maxLineBytes);
    decoder.push(new Uint8Array(maxLineBytes).fill(0x61), () => {});
    expect(codeOf(() => decoder.push(Uint8Array.of(0x61), () => {}))).toBe("too_large");
  });

  test("frames before a broken line are delivered before the decoder throws", () => {
    for (const broken of [
      Uint8Array.of(0xff, 0xfe),
      encoder.encode("GET / HTTP/1.1"),
      new Uint8Array(2000).fill(97),
    ]) {
      const bytes = Uint8Array.of(...encoder.encode("sys:ping:1 {}\nsys:ping:2 {}\n"), ...broken, 10);
      const decoder = new FrameDecoder(maxLineBytes);
      const refs: string[] = [];
      expect(codeOf(() => decoder.push(bytes, (frame) => refs.push(frame.ref)))).toMatch(
        /protocol_error|too_large/,
      );
      expect(refs).toEqual(["1", "2"]);
    }
  });

  test.each([
    "",
    "{}",
    "mod:sync {}",
    "mod:sync: {}",
    "Mod:sync:1 {}",
    "mod:sync:1",
    "mod:sync:1{}",
    "mod:sync:1 []",
    "mod:sync:1 null",
    " mod:sync:1 {}",
    "mod:sync:a b {}",
    `mod:sync:${"r".repeat(65)} {}`,
    "mod:sync:é {}",
  ])("%j is not a frame", (line) => {
    expect(codeOf(() => decodeFrame(line))).toBe("protocol_error");
  });

  test("random bytes give nothing but frames or the decoder's own errors", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 10 }), (chunks) => {
        expect([undefined, "protocol_error", "too_large"]).toContain(codeOf(() => decodeAll(chunks)));
      }),
    );
  });

  test("a line decodes the same alone and among other lines", () => {
    const pieces = [
      "mod",
      "exec",
      "exec_resp",
      "host",
      "done",
      ":",
      " ",
      "  ",
      "{",
      "}",
      "{}",
      "a.b-1",
      "é",
      "\r",
    ];
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 9 }), (parts) => {
        const line = parts.join("");
        let alone: Frame | undefined;
        try {
          alone = decodeFrame(line);
        } catch {}
        const among = encoder.encode(`sys:ping:1 {}\n${line}\nmod:exec:2 {}\n`);
        if (alone === undefined) expect(codeOf(() => decodeAll([among]))).toBe("protocol_error");
        else expect(decodeAll([among]).map(fieldsOf)[1]).toEqual(fieldsOf(alone));
      }),
      { numRuns: 2_000 },
    );
  });

  test("a chunk of many lines of any lengths gives every one of them", () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 100_000 }), { maxLength: 30 }), (lengths) => {
        const lines = lengths.map((length, index) => `mod:exec:${index} {"args":"${"x".repeat(length)}"}\n`);
        const frames = decodeAll([encoder.encode(lines.join(""))], 1 << 20);
        expect(frames.map(({ api, type, ref, json }) => encodeFrame(api, type, ref, json))).toEqual(lines);
      }),
      { numRuns: 30 },
    );
  });

  test("after stop, also within a chunk, nothing more is decoded, whatever follows", () => {
    const broken = [encoder.encode("GET / HTTP/1.1\n"), Uint8Array.of(0xff, 0x0a), new Uint8Array(200_000)];
    fc.assert(
      fc.property(
        fc.array(fc.nat({ max: 40_000 }), { minLength: 1, maxLength: 10 }),
        fc.constantFrom(...broken),
        fc.array(fc.nat(), { maxLength: 4 }),
        (lengths, junk, places) => {
          const lines = lengths.map((length) => `mod:exec:1 {"args":"${"x".repeat(length)}"}\n`);
          const decoder = new FrameDecoder(100_000);
          let count = 0;
          const onFrame = () => {
            count += 1;
            if (count === lines.length) decoder.stop();
          };
          const bytes = Buffer.concat([
            encoder.encode(lines.join("")),
            junk,
            encoder.encode("sys:ping:1 {}\n"),
          ]);
          for (const chunk of cut(bytes, places)) decoder.push(chunk, onFrame);
          expect(count).toBe(lines.length);
        },
      ),
      { numRuns: 50 },
    );
  });

  test("a REF is a number only if that is exact and printed the same way", () => {
    fc.assert(
      fc.property(fc.oneof(ref, fc.stringMatching(/^[0-9]{1,18}$/)), (ref) => {
        const exact = /^(0|[1-9][0-9]{0,14})$/.test(ref) ? Number(ref) : Number.NaN;
        expect(decodeFrame(`mod:exec:${ref} {}`).refNumber).toBe(exact);
        expect(decodeAll([encoder.encode(`mod:exec:${ref} {}\n`)])[0]?.refNumber).toBe(exact);
      }),
    );
  });

  test("a REF has 1 to 64 of the allowed characters", () => {
    for (const valid of ["1", "a.b-C_9", "r".repeat(64)]) {
      expect(decodeFrame(`mod:sync:${valid} {}`).ref).toBe(valid);
    }
    for (const invalid of ["", "a b", "r".repeat(65), "ä", "a\n"]) {
      expect(codeOf(() => decodeFrame(`mod:sync:${invalid} {}`))).toBe("protocol_error");
    }
  });
});

describe("the single string that varies in a payload", () => {
  /** A frame whose payload has other text around it. */
  const frameOf = (json: string) => new Frame("mod", "exec", `"a"\n${json}\n"b"}`, 1, 2, 4, 4 + json.length);
  const text = fc.oneof(
    fc.string({ unit: "grapheme" }),
    fc.string({ unit: "grapheme", minLength: 990, maxLength: 1_010 }),
  );

  test("is found between the text around it", () => {
    fc.assert(
      fc.property(text, text, text, (before, value, after) => {
        const [head, tail] = [`{${JSON.stringify(before)}:`, `,"x":${JSON.stringify(after)}}`];
        const literal = JSON.stringify(value);
        expect(frameOf(head + literal + tail).literalBetween(head, tail)).toBe(literal);
        expect([undefined, literal]).toContain(frameOf(head + literal + tail).plainLiteralAfter(head));
      }),
    );
  });

  test.each([
    ['{"a":"x"}', '{"a":', ',"b":1}'],
    ['{"a":"x","b":1}', '{"b":', "}"],
    ['{"a":"x","c":"y","b":1}', '{"a":', ',"b":1}'],
    ['{"a":"x\\"}', '{"a":', "}"],
    ['{"a":["x"]}', '{"a":', "}"],
    ['{"a":"}', '{"a":', "}"],
    ['{"a":}', '{"a":', "}"],
    ['{"a":"x" }', '{"a":', "}"],
    ['{"a":"x\u0000"}', '{"a":', "}"],
    ["{}", '{"a":"', '"}'],
  ])("%j has none between %j and %j", (json, head, tail) => {
    expect(frameOf(json).literalBetween(head, tail)).toBeUndefined();
  });
});
