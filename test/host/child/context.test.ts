import { expect, test } from "bun:test";
import { client, load } from "../../helpers/versions.ts";

test("the context can be destructured", async () => {
  await using m = await load(`
    export async function execute(args: string, { signal, client, ref, mod, tree, log, progress }: any) {
      const { debug, info, warn, error } = log;
      const { fingerprint, name } = client;
      for (const say of [debug, info, warn, error]) say("said");
      progress(0.5, "half");
      const { aborted } = signal;
      return JSON.stringify({ aborted, fingerprint, name, ref, mod, tree });
    }`);
  const call = m.begin("", { ref: "mine" });
  const outcome = await call.ended;
  if (!outcome.ok) throw new Error(outcome.message);
  expect(JSON.parse(JSON.parse(outcome.resultJson) as string)).toEqual({
    aborted: false,
    ...client,
    ref: "mine",
    mod: "m.ts",
    tree: m.version.tree,
  });
  expect(call.progressReports).toEqual([{ fraction: 0.5, message: "half" }]);
});

test("a destructured part belongs to its call, later and among other calls too", async () => {
  await using m = await load(`
    const { promise, resolve } = Promise.withResolvers<void>();
    export async function execute(args: string, { progress, ref }: any) {
      if (args === "go") resolve();
      await promise;
      progress(undefined, args);
      return ref;
    }`);
  const calls = ["a", "b", "go"].map((args) => m.begin(args, { ref: `of-${args}` }));
  const outcomes = await Promise.all(calls.map(({ ended }) => ended));
  expect(outcomes.map((outcome) => outcome.ok && outcome.resultJson)).toEqual([
    '"of-a"',
    '"of-b"',
    '"of-go"',
  ]);
  expect(calls.map(({ progressReports }) => progressReports)).toEqual([
    [{ message: "a" }],
    [{ message: "b" }],
    [{ message: "go" }],
  ]);
});
