import { expect, test } from "bun:test";
import fc from "fast-check";
import { formatLock, type Lock, parseLock } from "../../src/approvals/lock.ts";
import { VeripyError } from "../../src/index.ts";
import { approvedText, arbitraryLock } from "./arbitrary-lock.ts";

const server = "7".repeat(64);
const lock: Lock = {
  version: 1,
  servers: {
    [server]: {
      address: "server.example:8443",
      modules: { "hello.ts": approvedText("hello", { note: "read it" }) },
      denied: {
        "evil.ts": [
          { tree: approvedText("evil").tree, denied_at: "2026-11-24T10:00:00Z", denied_by: "bob@pc" },
        ],
      },
    },
  },
};

/** The error with which a text is refused as a lock. */
function refusal(text: string): VeripyError {
  try {
    parseLock(text, "veripy.lock");
  } catch (error) {
    if (error instanceof VeripyError) return error;
    throw error;
  }
  throw new Error("It was accepted.");
}

test("parsing what was formatted gives the same lock, whatever is in it", () => {
  fc.assert(
    fc.property(arbitraryLock, (any) => {
      expect(parseLock(formatLock(any), "veripy.lock")).toEqual(any);
    }),
  );
});

test("a lock is formatted in one order, whatever order its entries came in", () => {
  fc.assert(
    fc.property(arbitraryLock, (any) => {
      const servers = Object.fromEntries(Object.entries(any.servers).reverse());
      expect(formatLock({ ...any, servers })).toBe(formatLock(any));
    }),
  );
});

/** Every path to a value in a JSON document. */
function pathsIn(value: unknown, path: (string | number)[] = []): (string | number)[][] {
  if (typeof value !== "object" || value === null) return [path];
  const below = Object.entries(value).flatMap(([key, one]) =>
    pathsIn(one, [...path, Array.isArray(value) ? Number(key) : key]),
  );
  return [path, ...below];
}

/** The document with another value at a path. */
function changed(
  document: unknown,
  path: readonly (string | number)[],
  change: (value: unknown) => unknown,
): string {
  const copy: unknown = structuredClone(document);
  const holder = { root: copy };
  let parent: Record<string | number, unknown> = holder;
  let last: string | number = "root";
  for (const step of path) {
    parent = parent[last] as Record<string | number, unknown>;
    last = step;
  }
  parent[last] = change(parent[last]);
  return JSON.stringify(holder.root);
}

// What a person wrote, or a module declared, may be any text.
const free = [
  "description",
  "permissions",
  "input",
  "note",
  "approved_by",
  "denied_by",
  "address",
  "approved_at",
  "denied_at",
];
const strictPaths = pathsIn(lock).filter((path) => !path.some((step) => free.includes(String(step))));

test.each(strictPaths.map((path) => [path.join("/"), path] as const))(
  "a lock with a number, a list or nothing at '%s' is refused",
  (_, path) => {
    for (const value of [-1, [], null, "x"]) {
      const error = refusal(changed(lock, path, () => value));
      expect(error.code).toBe("bad_config");
      expect(error.message).toStartWith("veripy.lock");
    }
  },
);

test.each([
  ["the lock", [], '"other"'],
  ["a server", ["servers", server], '"other"'],
  ["a module", ["servers", server, "modules", "hello.ts"], '"other"'],
  ["a denial", ["servers", server, "denied", "evil.ts", 0], '"other"'],
])("an unknown key in %s is refused, and named", (_, path, key) => {
  const error = refusal(changed(lock, path, (value) => ({ ...(value as object), other: 1 })));
  expect(error).toMatchObject({ code: "bad_config" });
  expect(error.message).toContain(key.replaceAll('"', ""));
});

test.each([
  ["the servers", ["servers"]],
  ["the modules", ["servers", server, "modules"]],
  ["the files", ["servers", server, "modules", "hello.ts", "files"]],
  ["the denials", ["servers", server, "denied"]],
])("the name __proto__ among %s is refused, and not dropped", (_, path) => {
  const text = changed(lock, path, (value) =>
    Object.fromEntries([...Object.entries(value as object), ["__proto__", {}]]),
  );
  expect(text).toContain('"__proto__":{}');
  expect(refusal(text).code).toBe("bad_config");
});

test("the path of a tampered field is in the error", () => {
  const text = changed(lock, ["servers", server, "modules", "hello.ts", "approved_at"], () => "yesterday");
  expect(refusal(text).message).toContain(`["servers"]["${server}"]["modules"]["hello.ts"]["approved_at"]`);
});

test("a module whose files do not make up its tree is refused, and so is one without its own file", () => {
  const other = approvedText("other");
  const path = ["servers", server, "modules", "hello.ts"];
  expect(refusal(changed(lock, [...path, "tree"], () => other.tree)).message).toContain(
    "do not make up the tree",
  );
  expect(refusal(changed(lock, [...path, "files"], () => other.files)).message).toContain(
    "do not make up the tree",
  );
  expect(refusal(changed(lock, [...path, "files"], () => ({ "x.ts": other.tree }))).message).toContain(
    "do not include hello.ts",
  );
  expect(() => parseLock(formatLock(lock), "veripy.lock")).not.toThrow();
});

test("a lock of a newer program says so, and any other version is refused too", () => {
  expect(refusal('{"version": 2, "anything": true}').message).toContain("Upgrade this one");
  for (const version of ["0", '"1"', "null", "1.5"])
    expect(refusal(`{"version": ${version}, "servers": {}}`).message).toContain("is not supported");
  expect(refusal('{"servers": {}}').code).toBe("bad_config");
});

test("a key that stands twice is refused with its line", () => {
  expect(refusal('{"version": 1,\n"servers": {},\n"servers": {}}').message).toContain("line 3");
});
