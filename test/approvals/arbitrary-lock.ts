import fc from "fast-check";
import { type ApprovedModule, type Lock, lockVersion } from "../../src/approvals/lock.ts";
import { sha256Hex } from "../../src/base/sha256.ts";
import { treeSum } from "../../src/protocol/tree.ts";

const key = fc.stringMatching(/^[0-9a-f]{64}$/);
const sum = fc.string().map((text) => sha256Hex(text));
const time = fc
  .date({ min: new Date("2000-01-01"), max: new Date("2100-01-01"), noInvalidDate: true })
  .map((date) => `${date.toISOString().slice(0, 19)}Z`);
const words = fc.string({ minLength: 1, maxLength: 40 }).filter((text) => text !== "__proto__");
// Names that a plain object has of itself are ordinary names here.
const name = fc.oneof(
  words,
  fc.constantFrom("toString", "constructor", "hello.ts", "héllo.ts", "\u{1f600}.ts"),
);
const permissions = fc.oneof(
  fc.constant("all" as const),
  fc.constant({}),
  fc.constant({ read: ["/etc/hosts"], connect: [443] }),
);

function approved(mod: string): fc.Arbitrary<ApprovedModule> {
  return fc
    .record(
      {
        files: fc.dictionary(name, sum, { maxKeys: 3 }),
        own: sum,
        description: fc.string({ maxLength: 40 }),
        permissions,
        input: fc.constant({ type: "object", properties: { a: { type: "string" } } }),
        described_by: fc.constantFrom("source" as const, "server" as const),
        approved_at: time,
        approved_by: words,
        note: words,
      },
      { requiredKeys: ["files", "own", "described_by", "approved_at", "approved_by"] },
    )
    .map(({ own, files, ...rest }) => {
      const all = Object.fromEntries([...Object.entries(files), [mod, own]]);
      const tree = treeSum(Object.entries(all).map(([path, digest]) => ({ path, sum: digest })));
      return { ...rest, files: all, tree };
    });
}

const modules = fc
  .uniqueArray(name, { maxLength: 3 })
  .chain((names) => fc.tuple(...names.map((mod) => approved(mod).map((one) => [mod, one] as const))))
  .map((entries) => Object.fromEntries(entries));

const denial = fc.record(
  { tree: sum, denied_at: time, denied_by: words, note: words },
  { requiredKeys: ["tree", "denied_at", "denied_by"] },
);
const denied = fc
  .uniqueArray(fc.tuple(name, fc.array(denial, { minLength: 1, maxLength: 2 })), {
    minLength: 1,
    maxLength: 2,
    selector: ([mod]) => mod,
  })
  .map((entries) => Object.fromEntries(entries));

/** Any lock that the program may write. */
export const arbitraryLock: fc.Arbitrary<Lock> = fc
  .record(
    {
      servers: fc.dictionary(
        key,
        fc.record({ address: words, modules, denied }, { requiredKeys: ["address"] }),
        { maxKeys: 3 },
      ),
      catalogues: fc.dictionary(
        fc.constantFrom("prod", "test-2", "constructor"),
        fc.record(
          { serial: fc.integer({ min: 1 }), sum, modules, denied },
          { requiredKeys: ["serial", "sum"] },
        ),
        { minKeys: 1, maxKeys: 2 },
      ),
    },
    { requiredKeys: ["servers"] },
  )
  .map((rest) => ({ version: lockVersion, ...rest }));

/** An approved version of `hello.ts` with this text. */
export function approvedText(text: string, more: Partial<ApprovedModule> = {}): ApprovedModule {
  const own = sha256Hex(text);
  return {
    tree: treeSum([{ path: "hello.ts", sum: own }]),
    files: { "hello.ts": own },
    permissions: {},
    described_by: "source",
    approved_at: "2026-11-24T10:00:00Z",
    approved_by: "alice@laptop",
    ...more,
  };
}
