import { describe, expect, test } from "bun:test";
import { type CompletionSource, complete } from "../../src/cli/shell-completion.ts";

const schemas: Record<string, Record<string, unknown>> = {
  deploy: {
    type: "object",
    properties: {
      env: { type: "string", enum: ["prod", "staging", "a b", "\u001b[31m"] },
      dry_run: { type: "boolean" },
      options: { type: "object" },
      tags: { type: "array", items: { enum: ["red", "blue"] } },
      "bad name": { type: "string" },
      "\u001b]0;owned\u0007": { type: "string" },
    },
  },
  odd: { properties: 5, required: [1, "x"], type: "object" },
};

const source: CompletionSource = {
  commands: ["help", "list", "describe", "exit"],
  moduleCommands: ["describe"],
  modules: ["deploy.ts", "list.ts", "odd.js", "\u001b[2Jevil.ts", "two words.ts"],
  input: (mod) => schemas[mod],
};

describe("completion", () => {
  test.each([
    [
      "a line begins with a command or a module",
      "",
      ["help ", "list ", "describe ", "exit ", "deploy ", "odd.js "],
      "",
    ],
    ["of one of them", "de", ["describe ", "deploy "], "de"],
    ["of a full name, which also calls a module with the name of a command", "list.", ["list.ts "], "list."],
    ["spaces before the line do not matter", "  de", ["describe ", "deploy "], "de"],
    ["of a module after a command that takes one", "describe od", ["odd.js "], "od"],
    ["of a command after help", "help l", ["list "], "l"],
    ["of nothing after other commands", "exit ", [], ""],
    ["of the arguments of a module", "deploy ", ["env=", "dry_run=", "options:=", "tags="], ""],
    ["of one argument", "deploy env=prod d", ["dry_run="], "d"],
    ["of the values that a schema names", "deploy env=", ["env=prod ", "env=staging "], "env="],
    ["of true and false", "deploy dry_run=t", ["dry_run=true "], "dry_run=t"],
    ["of the elements of an array", "deploy tags=red tags=", ["tags=red ", "tags=blue "], "tags="],
    ["of nothing for a value of any text", "deploy unknown=x", [], "unknown=x"],
    ["of nothing for a module that is not there", "nothing e", [], "e"],
    ["a schema of an unexpected form offers what it can", "odd ", ["x="], ""],
  ])("%s", (_, line, candidates, end) => {
    expect(complete(line, source)).toEqual([candidates, end]);
  });
});
