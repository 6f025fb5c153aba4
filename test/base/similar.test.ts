import { expect, test } from "bun:test";
import { mostSimilar } from "../../src/base/similar.ts";

const names = ["alice", "Alicia", "bob", "deploy-prod", "deploy-test", "f0".repeat(32)];

test.each([
  ["alcie", ["alice"]],
  ["ALICE", ["alice"]],
  ["alicie", ["alice", "Alicia"]],
  ["bab", ["bob"]],
  ["deploy", ["deploy-prod", "deploy-test"]],
  ["f0f0f0", ["f0".repeat(32)]],
  ["de", []],
  ["zebra", []],
  ["", []],
])("what %j may have meant is %j", (word, meant) => {
  expect(mostSimilar(word, names)).toEqual(meant);
});
