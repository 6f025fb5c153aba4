import { expect, test } from "bun:test";
import { argumentFields, argumentUsage } from "../../src/manifest/argument-fields.ts";

const usage = (input: Record<string, unknown> | undefined) => argumentUsage(input).join(" ");

test("the usage names required fields first as they stand, and others in brackets", () => {
  expect(
    usage({
      type: "object",
      properties: {
        env: { type: "string" },
        dry_run: { type: "boolean" },
        tags: { type: "array", items: { type: "string" } },
        ports: { type: "array", items: { type: "integer" } },
        limit: { anyOf: [{ type: "integer" }, { type: "null" }] },
        options: { type: "object" },
        servers: { type: "array", items: { type: "object" } },
        anything: true,
      },
      required: ["env", "ports"],
    }),
  ).toBe(
    "env=STRING [dry_run=BOOLEAN] [tags=STRING …] ports=INTEGER … [limit=INTEGER|NULL] [options:=JSON] [servers:=JSON] [anything=STRING]",
  );
});

test("a name is quoted for a shell, and one that can't be typed is left out", () => {
  const names = ["$(touch X)", "it's", "plain_1", "a=b", "a:", ""];
  const properties = Object.fromEntries(names.map((name) => [name, { type: "string" }]));
  expect(usage({ properties })).toBe("['$(touch X)'=STRING] ['it'\\''s'=STRING] [plain_1=STRING]");
});

test("other fields are shown as possible where they are", () => {
  expect(usage({ type: "object" })).toBe("[NAME=VALUE …]");
  expect(usage({ properties: { a: {} }, additionalProperties: true })).toBe("[a=STRING] [NAME=VALUE …]");
  expect(usage({ properties: { a: {} }, additionalProperties: false })).toBe("[a=STRING]");
});

test("a module that takes no object takes JSON or text", () => {
  expect(usage(undefined)).toBe("[TEXT …]");
  expect(usage({ type: "string" })).toBe("JSON");
});

test.each([
  { properties: 5 },
  { properties: [{}] },
  { type: {}, properties: {} },
  { type: "object", properties: { a: { type: [7, "nothing"], anyOf: 3 } }, required: [7, {}] },
  { type: "object", properties: { a: { type: "array", items: [1] } }, required: "a" },
])("what a server reports in place of a schema is no fault: %j", (input) => {
  expect(() => usage(input)).not.toThrow();
});

test("only what JSON Schema knows is a type", () => {
  const described = argumentFields({ type: "object", properties: { a: { type: ["string", "\u001b[2J"] } } });
  expect(described?.fields.get("a")?.types).toEqual(["string"]);
});
