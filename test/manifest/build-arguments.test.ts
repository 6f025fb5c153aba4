import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ArgumentsError, buildArguments } from "../../src/manifest/build-arguments.ts";

const schema = {
  type: "object",
  properties: {
    env: { type: "string" },
    dry_run: { type: "boolean" },
    count: { type: "integer", minimum: 1 },
    ratio: { type: "number" },
    since: { type: ["string", "null"] },
    limit: { anyOf: [{ type: "integer" }, { type: "null" }] },
    level: { enum: [1, 2, "high"] },
    mode: { enum: ["fast", "safe"] },
    tags: { type: "array", items: { type: "string" } },
    ports: { type: "array", items: { type: "integer" } },
    either: { anyOf: [{ type: "integer" }, { type: "array", items: { type: "integer" } }] },
    options: { type: "object" },
    servers: { type: "array", items: { type: "object" } },
    anything: {},
  },
};
const open = { type: "object" };

const build = (words: string[], input: Record<string, unknown> = schema) =>
  buildArguments("deploy.ts", input, words);

function fault(words: string[], input: Record<string, unknown> = schema): string {
  try {
    return `built ${build(words, input)}`;
  } catch (error) {
    if (!(error instanceof ArgumentsError)) throw error;
    expect({ code: error.code, input: error.input }).toEqual({ code: "bad_arguments", input });
    return error.message.replace(/^Cannot call deploy\.ts: /, "");
  }
}

describe("a value becomes what the schema says", () => {
  test.each<[word: string, json: string]>([
    ["env=prod", '{"env":"prod"}'],
    ["env=", '{"env":""}'],
    ["env=5", '{"env":"5"}'],
    ["env=a=b=c", '{"env":"a=b=c"}'],
    ["env==x", '{"env":"=x"}'],
    ['env={"a":1}', '{"env":"{\\"a\\":1}"}'],
    ["env= two words\n", '{"env":" two words\\n"}'],
    ["dry_run=true", '{"dry_run":true}'],
    ["dry_run=false", '{"dry_run":false}'],
    ["count=42", '{"count":42}'],
    ["count=1e3", '{"count":1e3}'],
    ["count=9007199254740991", '{"count":9007199254740991}'],
    ["ratio=-0.5", '{"ratio":-0.5}'],
    ["ratio=1E-7", '{"ratio":1E-7}'],
    ["since=null", '{"since":"null"}'],
    ["limit=5", '{"limit":5}'],
    ["limit=null", '{"limit":null}'],
    ["level=high", '{"level":"high"}'],
    ["mode=fast", '{"mode":"fast"}'],
    ["tags=a", '{"tags":["a"]}'],
    ["either=1", '{"either":1}'],
    ["anything=5", '{"anything":"5"}'],
  ])("%s", (word, json) => {
    expect(build([word])).toBe(json);
  });

  test("an array takes a word for each element", () => {
    expect(build(["tags=a", "env=prod", "tags=b"])).toBe('{"tags":["a","b"],"env":"prod"}');
    expect(build(["ports=80", "ports=443"])).toBe('{"ports":[80,443]}');
    expect(build(["either=1", "either=2"])).toBe('{"either":[1,2]}');
  });

  test("no words are an empty object", () => {
    expect(build([])).toBe("{}");
  });
});

describe("JSON after ':=' is sent as it was typed", () => {
  test.each<[word: string, json: string]>([
    ["dry_run:=true", '{"dry_run":true}'],
    ["since:=null", '{"since":null}'],
    ["level:=1", '{"level":1}'],
    ["tags:=[]", '{"tags":[]}'],
    ['options:={"a": [1, 2]}', '{"options":{"a": [1, 2]}}'],
    ["anything:=123456789012345678901", '{"anything":123456789012345678901}'],
    ['env:="a=b"', '{"env":"a=b"}'],
  ])("%s", (word, json) => {
    expect(build([word])).toBe(json);
  });

  test("also the one word that begins with {", () => {
    expect(build(['{"env": "prod"}'])).toBe('{"env": "prod"}');
  });
});

describe("a fault names the field and what was seen", () => {
  test.each<[words: string[], message: string]>([
    [["dry_run=yes"], "dry_run must be true or false, not 'yes'."],
    [["dry_run="], "dry_run must be true or false, not ''."],
    [["count=1.5"], "count must be an integer, not '1.5'."],
    [["count=007"], "count must be an integer, not '007'."],
    [["count=+1"], "count must be an integer, not '+1'."],
    [["count= 1"], "count must be an integer, not ' 1'."],
    [["count=0x10"], "count must be an integer, not '0x10'."],
    [["count=9007199254740993"], "count must be an integer, and 9007199254740993 is too large to be exact."],
    [["count=1e400"], "count must be an integer, and 1e400 is too large to be exact."],
    [["ratio=1e400"], "ratio must be a number, and 1e400 is too large to be exact."],
    [["ratio=NaN"], "ratio must be a number, not 'NaN'."],
    [["ratio=Infinity"], "ratio must be a number, not 'Infinity'."],
    [["limit=x"], "limit must be an integer or null, not 'x'."],
    [["ports=80", "ports=http"], "each value of ports must be an integer, not 'http'."],
    [["options=x"], "options must be an object, not 'x'. Give it as JSON: options:='{…}'."],
    [["servers=x"], "each value of servers must be an object, not 'x'. Give it as JSON: servers:='[…]'."],
    [["env=a", "env=b"], "env is given 2 times, but takes one value."],
    [["tags:=[]", "tags=b"], "tags is given 2 times, but ':=' gives all of it at once."],
    [["evn=prod"], "it takes no 'evn'. Did you mean 'env'?"],
    [["--env=prod"], "it takes no '--env'. Did you mean 'env'?"],
    [["options.a=1"], "it takes no 'options.a'. What is inside options is given as JSON: options:='{…}'."],
    [["env:a=1"], "it takes no 'env:a'."],
    [["__proto__=x"], "it takes no '__proto__'."],
    [["constructor=x"], "it takes no 'constructor'."],
    [["prod"], "'prod' is not an argument. Write NAME=VALUE."],
    [["--dry_run"], "'--dry_run' is not an argument. Write dry_run=true."],
    [["env"], "'env' is not an argument. Write env=VALUE."],
    [["=x"], "'=x' has no name. Write NAME=VALUE."],
    [[":=1"], "':=1' has no name. Write NAME=VALUE."],
    [["env:=prod"], 'env is not JSON: Unexpected identifier "prod". For a string, write env=VALUE.'],
    [["env:==x"], "env is not JSON: Unexpected token '='. For a string, write env=VALUE."],
    [['{"env":'], 'its arguments are not JSON: Unexpected EOF. They are {"env":'],
    [['{"env":', "1}"], "'{\"env\":' is not an argument. Write NAME=VALUE."],
    [["count=0"], 'args.count: 0 is less than 1. The arguments are {"count":0}'],
    [
      ['{"env":5}'],
      'args.env: Instance type "number" is invalid. Expected "string". The arguments are {"env":5}',
    ],
    [
      ["mode=slow"],
      'args.mode: Instance does not match any of ["fast","safe"]. The arguments are {"mode":"slow"}',
    ],
  ])("%j", (words, message) => {
    expect(fault(words)).toBe(message);
  });

  test("required fields that are missing are all named", () => {
    const required = { ...schema, required: ["env", "count", "elsewhere"] };
    expect(fault(["count=1", "elsewhere=x"], required)).toBe("env is missing.");
    expect(fault([], required)).toBe("env, count, elsewhere are missing.");
    expect(fault(['{"env":"a"}'], required)).toBe("count, elsewhere are missing.");
    expect(fault(["toString=1"], { type: "object", required: ["toString"] })).toStartWith("built");
    expect(fault([], { type: "object", required: ["toString"] })).toBe("toString is missing.");
  });
});

test("a field that is not in 'properties' is taken where the schema says more", () => {
  for (const more of [
    { additionalProperties: true },
    { additionalProperties: { type: "string" } },
    { patternProperties: { "^x": {} } },
    { allOf: [{ properties: { x: {} } }] },
  ]) {
    expect(build(["x=1"], { ...schema, ...more })).toBe('{"x":"1"}');
  }
  expect(fault(["x=1"], { ...schema, additionalProperties: false })).toBe("it takes no 'x'.");
  expect(build(["a.b=1", "c:=2"], open)).toBe('{"a.b":"1","c":2}');
  expect(fault(["a=1", "a=2"], open)).toBe("a is given 2 times, but takes one value.");
});

test("__proto__ is a name like any other", () => {
  const args = build(["__proto__=x"], { type: "object", additionalProperties: { type: "string" } });
  expect(args).toBe('{"__proto__":"x"}');
  expect(fault(["__proto__:=5"], { type: "object", additionalProperties: { type: "string" } })).toContain(
    "args.__proto__",
  );
  const declared = JSON.parse('{"properties":{"__proto__":{"type":"integer"}}}');
  expect(build(["__proto__=5"], declared)).toBe('{"__proto__":5}');
  expect(fault(["__proto__=x"], declared)).toBe("__proto__ must be an integer, not 'x'.");
});

test("without a schema of an object, the words are joined by spaces", () => {
  expect(buildArguments("m.ts", undefined, ["a=1", "{", "b"])).toBe("a=1 { b");
  for (const input of [{ type: "string" }, { type: "array" }, {}, { type: ["object", "null"] }]) {
    expect(build(["a=1", "b"], input)).toBe("a=1 b");
  }
});

describe("a schema that could take forever is left to the server", () => {
  const slow = { type: "string", pattern: "^(a+)+$" };
  const value = `${"a".repeat(64)}b`;

  test.each<[what: string, input: Record<string, unknown>]>([
    ["with a slow pattern", { type: "object", properties: { env: slow } }],
    ["with a slow pattern deep inside", { ...schema, allOf: [{ not: { properties: { env: slow } } }] }],
    ["with endless references", { type: "object", properties: { env: {} }, allOf: [{ $ref: "#" }] }],
  ])("%s", (_, input) => {
    const before = performance.now();
    expect(build([`env=${value}`], input)).toBe(`{"env":"${value}"}`);
    expect(performance.now() - before).toBeLessThan(1_000);
  });

  test("but what is missing or of a wrong type is still found", () => {
    const input = {
      type: "object",
      properties: { env: slow, count: { type: "integer" } },
      required: ["env"],
    };
    expect(fault(["count=1"], input)).toBe("env is missing.");
    expect(fault(["env=a", "count=x"], input)).toBe("count must be an integer, not 'x'.");
  });
});

test("a schema that is no valid one is the module's fault", () => {
  expect(() => build(["a=1"], { type: "object", properties: { a: { minLength: "x" } } })).toThrow(
    expect.objectContaining({ code: "bad_module" }),
  );
});

test("every text arrives as it was typed", () => {
  const name = fc.string({ minLength: 1, unit: "grapheme" }).filter((text) => !/[=]|:$/.test(text));
  fc.assert(
    fc.property(fc.dictionary(name, fc.string({ unit: "grapheme" })), (fields) => {
      const words = Object.entries(fields).map(([key, value]) => `${key}=${value}`);
      fc.pre(!(words.length === 1 && words[0]?.startsWith("{")));
      expect(Object.entries(JSON.parse(build(words, open)))).toEqual(
        Object.entries(JSON.parse(JSON.stringify(fields))),
      );
    }),
  );
});
