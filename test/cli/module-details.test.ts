import { expect, test } from "bun:test";
import {
  detailsJson,
  detailsText,
  type ModuleDetails,
  permissionsTag,
  permissionsText,
} from "../../src/cli/module-details.ts";
import { type Text, text } from "../../src/cli/text.ts";
import { evil, forgedVerdicts, strayEscapes } from "../helpers/escapes.ts";

const details: ModuleDetails = {
  mod: "m.ts",
  tree: "a".repeat(64),
  description: "Deploys",
  input: { properties: { host: { type: "string", description: "Where" } }, required: ["host"] },
  limits: { execMs: 1_000, retain: 0 },
  permissions: { read: ["/var/log"], run: ["git"] },
  describedBy: "source",
  files: [{ path: "m.ts", sum: "b".repeat(64) }],
};

const redParts = ({ pieces }: Text) =>
  pieces.filter(({ style }) => style === "red").map((piece) => piece.text);

test("the details of a module are all there", () => {
  expect(detailsText(details).map(({ plain }) => plain)).toEqual([
    "  permissions   read /var/log; run git",
    `  tree          ${"a".repeat(64)}`,
    "  described by  its source",
    "  limits        execMs 1000, retain 0; else the server's",
    "  arguments",
    "    name  type    required  description",
    "    host  string  yes       Where",
    "  files",
    `    ${"b".repeat(64)}  m.ts`,
  ]);
});

test("a module that declares nothing has them too", () => {
  const nothing = {
    ...details,
    input: undefined,
    limits: {},
    permissions: {},
    describedBy: "server",
  } as const;
  const lines = detailsText(nothing).map(({ plain }) => plain);
  expect(lines).toContain("  permissions   none");
  expect(lines).toContain("  limits        the server's");
  expect(lines).toContain("  arguments     any text");
  expect(lines[2]).toStartWith("  described by  the server");
});

test("with --json, the fields are in snake_case, and the schema is as it was", () => {
  const input = { properties: { camelCase: {} } };
  expect(detailsJson({ ...details, input })).toMatchObject({
    input,
    limits: { exec_ms: 1_000, retain: 0 },
    files: [{ path: "m.ts", sum: "b".repeat(64) }],
  });
});

test("only 'all' is red, in the details and in a list", () => {
  expect(redParts(permissionsText("all"))).toEqual(["all"]);
  expect(redParts(permissionsTag("all"))).toEqual(["[all]"]);
  for (const permissions of [{}, { run: ["all"] }]) {
    expect(redParts(permissionsText(permissions))).toEqual([]);
    expect(redParts(permissionsTag(permissions))).toEqual([]);
  }
});

test("a value that could be taken for several is in quotes", () => {
  const permissions = { read: ["/a, /b", "/c; run sh"], connect: [80, 443] };
  expect(permissionsText(permissions).plain).toBe('read "/a, /b", "/c; run sh"; connect 80, 443');
});

test("a list names the kinds, however many a server reports", () => {
  expect(permissionsTag({ read: ["/etc"], run: ["git"] }).plain).toBe("[read, run] ");
  expect(permissionsTag(undefined).plain).toBe("");
  const many = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`kind${index}`, []]));
  expect(permissionsTag(many).plain).toBe("[kind0, kind1, kind2, kind3, kind4, …] ");
});

test("no value can move the cursor or forge a line", () => {
  const lines = detailsText({
    ...details,
    tree: evil,
    input: { properties: { [evil]: { type: evil, description: evil, default: evil, enum: [evil] } } },
    permissions: { read: [evil], run: [evil] },
    files: [{ path: evil, sum: evil }],
  });
  const shown = [...lines, permissionsTag({ [evil]: [] })].map((line) => text`${line}`.plain).join("\n");
  expect(strayEscapes(shown)).toEqual([]);
  expect(forgedVerdicts(shown)).toEqual([]);
});
