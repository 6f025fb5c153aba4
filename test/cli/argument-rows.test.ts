import { expect, test } from "bun:test";
import { argumentRows } from "../../src/cli/argument-rows.ts";

const header = ["name", "type", "required", "description"];

test("an object's properties are a row each", () => {
  const schema = {
    type: "object",
    properties: {
      host: { type: "string", description: "Where to deploy" },
      mode: { enum: ["dry", "real"], default: "dry" },
      ports: { type: "array", items: { type: "integer" } },
      since: { type: ["string", "null"] },
      either: { anyOf: [{ type: "string" }, { type: "number" }] },
      fixed: { const: 7 },
      anything: true,
    },
    required: ["host"],
  };
  expect(argumentRows(schema)).toEqual([
    header,
    ["host", "string", "yes", "Where to deploy"],
    ["mode", "string", "no", 'one of "dry", "real"; default "dry"'],
    ["ports", "array of integer", "no", ""],
    ["since", "string or null", "no", ""],
    ["either", "string or number", "no", ""],
    ["fixed", "number", "no", "always 7"],
    ["anything", "any", "no", ""],
  ]);
});

test("arguments of another type are one row", () => {
  expect(argumentRows({ type: "string", description: "A path", default: "/" })).toEqual([
    ["type", "description"],
    ["string", 'A path; default "/"'],
  ]);
});

test.each([
  {},
  { properties: 5 },
  { properties: [{}] },
  { type: {}, properties: {}, required: 7 },
  { type: "array", items: [1], enum: "x", anyOf: 3 },
])("what a server reports in place of a schema is no fault: %j", (schema) => {
  expect(argumentRows(schema)).toHaveLength(2);
});

test("a property may have the name of one that every object has", () => {
  const properties = Object.fromEntries([["constructor", { type: "string" }]]);
  expect(argumentRows({ properties })[1]).toEqual(["constructor", "string", "no", ""]);
});
