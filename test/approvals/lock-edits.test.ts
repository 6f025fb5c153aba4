import { expect, test } from "bun:test";
import fc from "fast-check";
import { emptyLock, formatLock, parseLock } from "../../src/approvals/lock.ts";
import {
  withApproval,
  withCurrentKey,
  withDenial,
  withNextKey,
  withoutApproval,
} from "../../src/approvals/lock-edits.ts";
import { approvedText, arbitraryLock } from "./arbitrary-lock.ts";

const place = { fingerprint: "a".repeat(64), address: "server.example:8443" };
const other = "b".repeat(64);
const one = approvedText("one");
const two = approvedText("two");
const denialOf = ({ tree }: { tree: typeof one.tree }) => ({
  tree,
  denied_at: "2026-11-24T10:00:00Z",
  denied_by: "bob@pc",
});

test("every edit of any lock can be read back", () => {
  fc.assert(
    fc.property(arbitraryLock, (lock) => {
      const edited = [
        withApproval(lock, place, "hello.ts", one),
        withDenial(lock, place, "hello.ts", denialOf(one)),
        ...Object.keys(lock.servers).map((key) => withNextKey(lock, key, other)),
        ...Object.entries(lock.servers).flatMap(([key, { modules = {} }]) =>
          Object.keys(modules).map((mod) => withoutApproval(lock, key, mod)),
        ),
      ];
      for (const next of edited) expect(parseLock(formatLock(next), "veripy.lock")).toEqual(next);
    }),
  );
});

test("an approval replaces an earlier one, and the denial of the same version, but not that of another", () => {
  let lock = withDenial(emptyLock, place, "hello.ts", denialOf(one));
  lock = withDenial(lock, place, "hello.ts", denialOf(two));
  expect(lock.servers[place.fingerprint]?.modules).toBeUndefined();
  lock = withApproval(lock, place, "hello.ts", one);
  expect(lock.servers[place.fingerprint]).toMatchObject({
    modules: { "hello.ts": one },
    denied: { "hello.ts": [denialOf(two)] },
  });
  lock = withApproval(lock, place, "hello.ts", two);
  expect(lock.servers[place.fingerprint]).toEqual({ address: place.address, modules: { "hello.ts": two } });
});

test("a denial removes the approval, also of another version, and keeps the others", () => {
  let lock = withApproval(withApproval(emptyLock, place, "hello.ts", one), place, "b.ts", two);
  lock = withDenial(lock, place, "hello.ts", denialOf(two));
  expect(Object.keys(lock.servers[place.fingerprint]?.modules ?? {})).toEqual(["b.ts"]);
  const again = withDenial(lock, place, "hello.ts", denialOf(two));
  expect(again.servers[place.fingerprint]?.denied?.["hello.ts"]).toHaveLength(1);
});

test("removing the last approval leaves an empty list, with which nothing runs", () => {
  const lock = withApproval(emptyLock, place, "hello.ts", one);
  expect(withoutApproval(lock, place.fingerprint, "hello.ts").servers[place.fingerprint]?.modules).toEqual(
    {},
  );
  expect(withoutApproval(lock, place.fingerprint, "other.ts")).toBe(lock);
  expect(withoutApproval(lock, other, "hello.ts")).toBe(lock);
});

test("an approval at an address ends the entry of another key there, but keeps what that denied", () => {
  const before = withDenial(
    withApproval(emptyLock, { ...place, fingerprint: other }, "hello.ts", one),
    { ...place, fingerprint: other },
    "evil.ts",
    denialOf(two),
  );
  const after = withApproval(before, place, "hello.ts", two);
  expect(Object.keys(after.servers)).toEqual([place.fingerprint]);
  expect(after.servers[place.fingerprint]?.denied).toEqual({ "evil.ts": [denialOf(two)] });
  const elsewhere = withApproval(before, { ...place, address: "other.example:8443" }, "hello.ts", two);
  expect(Object.keys(elsewhere.servers).sort()).toEqual([place.fingerprint, other]);
});

test("an entry moves to the server's next key, and joins what that has: its approvals stand, and no denial is lost", () => {
  const lock = withApproval(emptyLock, place, "hello.ts", one);
  const moved = withNextKey(lock, place.fingerprint, other);
  expect(moved.servers).toEqual({ [other]: lock.servers[place.fingerprint] as never });
  const both = withApproval(lock, { fingerprint: other, address: "x:1" }, "b.ts", two);
  expect(withNextKey(both, place.fingerprint, other).servers).toEqual({
    [other]: { address: "x:1", modules: { "hello.ts": one, "b.ts": two } },
  });
  const denied = withDenial(both, place, "constructor", denialOf(one));
  const own = { fingerprint: other, address: "x:1" };
  const bothDenied = withDenial(
    withApproval(denied, own, "hello.ts", two),
    own,
    "constructor",
    denialOf(two),
  );
  const joined = withNextKey(bothDenied, place.fingerprint, other).servers[other];
  expect(joined?.modules).toEqual({ "hello.ts": two, "b.ts": two });
  expect(joined?.denied).toEqual({ constructor: [denialOf(one), denialOf(two)] } as never);
});

test("an approval at an address keeps the denials of both keys for the same module", () => {
  const elsewhere = { ...place, fingerprint: other };
  const before = withDenial(
    withDenial(emptyLock, elsewhere, "a.ts", denialOf(one)),
    place,
    "a.ts",
    denialOf(two),
  );
  const after = withApproval(before, place, "hello.ts", one);
  expect(after.servers[place.fingerprint]?.denied).toEqual({ "a.ts": [denialOf(one), denialOf(two)] });
});

test("what was decided moves along a chain of keys, the latest deciding", () => {
  const oldest = "c".repeat(64);
  const lock = withApproval(
    withApproval(emptyLock, { fingerprint: oldest, address: "x:1" }, "hello.ts", one),
    { fingerprint: place.fingerprint, address: "y:1" },
    "hello.ts",
    two,
  );
  const moved = withCurrentKey(lock, other, [place.fingerprint, oldest]);
  expect(moved.servers).toEqual({ [other]: { address: "y:1", modules: { "hello.ts": two } } });
  expect(withCurrentKey(moved, other, [place.fingerprint, oldest])).toBe(moved);
});
