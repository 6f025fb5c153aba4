import { expect, test } from "bun:test";
import { compileInput } from "../../src/manifest/input-schema.ts";
import { load } from "../helpers/versions.ts";

const order = {
  type: "object",
  required: ["name"],
  properties: {
    name: { type: "string", pattern: "^[a-z]+$" },
    count: { type: "integer", minimum: 1 },
    tags: { type: "array", items: { $ref: "#/$defs/tag" } },
    "odd key": { type: "null" },
  },
  additionalProperties: false,
  $defs: { tag: { type: "string", maxLength: 3 } },
};

function fault(schema: Record<string, unknown>, args: string): string {
  try {
    compileInput("m.ts", schema)(args);
    return "fits";
  } catch (error) {
    return `${(error as { code: string }).code} ${(error as Error).message}`;
  }
}

test("arguments that fit pass, and a fault is named by its place", () => {
  expect(fault(order, `{"name":"abc","count":2,"tags":["a","b"],"odd key":null}`)).toBe("fits");
  expect(fault(order, `{}`)).toStartWith("bad_request args: Instance does not have required property");
  expect(fault(order, `{"name":"ABC"}`)).toStartWith("bad_request args.name: ");
  expect(fault(order, `{"name":"a","count":0}`)).toStartWith("bad_request args.count: ");
  expect(fault(order, `{"name":"a","tags":["b","long"]}`)).toStartWith("bad_request args.tags[1]: ");
  expect(fault(order, `{"name":"a","odd key":1}`)).toStartWith(`bad_request args["odd key"]: `);
  expect(fault(order, `{"name":"a","more":1}`)).toStartWith("bad_request args.more: ");
  expect(fault(order, `name`)).toStartWith("bad_request args must be JSON for m.ts: ");
  expect(fault(order, ``)).toStartWith("bad_request args must be JSON for m.ts: ");
});

test("keywords that schema libraries often lack are supported", () => {
  // biome-ignore lint/suspicious/noThenProperty: the name of a JSON Schema keyword
  const conditional = { if: { properties: { kind: { const: "a" } } }, then: { required: ["x"] } };
  expect(fault(conditional, `{"kind":"a"}`)).toContain("bad_request");
  expect(fault(conditional, `{"kind":"b"}`)).toBe("fits");
  const dependent = { dependentRequired: { a: ["b"] }, unevaluatedProperties: true };
  expect(fault(dependent, `{"a":1}`)).toContain("bad_request");
  expect(fault({ prefixItems: [{ type: "number" }], items: false }, `[1,2]`)).toContain("bad_request");
  expect(
    fault({ $schema: "http://json-schema.org/draft-07/schema#", items: [{ type: "number" }] }, `["x"]`),
  ).toContain("bad_request args[0]");
});

const invalid: Record<string, [schema: Record<string, unknown>, message: RegExp]> = {
  "a type that is none": [{ type: "strin" }, /input\.type/],
  "properties that are none": [{ properties: 3 }, /input\.properties/],
  "a nested fault": [
    { properties: { a: { items: { minimum: "1" } } } },
    /input\.properties\.a\.items\.minimum/,
  ],
  "a pattern that is no regular expression": [{ pattern: "(" }, /input\.pattern/],
  "a reference to nowhere": [
    { properties: { a: { $ref: "#/$defs/none" } } },
    /\$ref "#\/\$defs\/none" does not resolve to a schema/,
  ],
  "a reference to the network": [{ $ref: "https://example.com/schema.json" }, /does not resolve to a schema/],
  "an unknown draft": [{ $schema: "https://example.com/mine" }, /\$schema is "https:\/\/example.com\/mine"/],
  "a required that is no list": [{ required: "name" }, /input\.required/],
};

for (const [what, [schema, message]] of Object.entries(invalid)) {
  test(`${what} makes the schema invalid`, () => {
    expect(() => compileInput("m.ts", schema)).toThrow(message);
  });
}

test("a module with an input never sees arguments that don't fit", async () => {
  await using m = await load(`
    let seen = 0;
    export const input = ${JSON.stringify(order)};
    export const execute = (args: string) => { seen++; return JSON.parse(args).name + seen; };`);
  expect(m.version.input).toEqual(order);
  expect(await m.failure(`{"name":"1"}`)).toStartWith("bad_request: args.name: ");
  expect(await m.failure(`no`)).toStartWith("bad_request: args must be JSON");
  expect(await m.result(`{"name":"abc"}`)).toBe("abc1");
});

test("an input that a module re-exports from another file counts", async () => {
  await using m = await load({
    "m.ts": `export * from "./schema.ts"; export const execute = () => "ran";`,
    "schema.ts": `export const input = { type: "number" };`,
  });
  expect(await m.failure(`"x"`)).toStartWith("bad_request: args: ");
  expect(await m.result("1")).toBe("ran");
});

test("an endless regular expression in a schema blocks its own process only", async () => {
  await using neighbour = await load(`export const execute = () => "fine";`);
  await using m = await load(`
    export const input = { type: "string", pattern: "^(a+)+$" };
    export const execute = () => "ran";`);
  const call = m.begin(JSON.stringify(`${"a".repeat(60)}!`), { timeoutMs: 150 });
  expect(await neighbour.result()).toBe("fine");
  expect((await call.ended).ok).toBe(false);
  expect(await m.result(`"aa"`)).toBe("ran");
});
