import { describe, expect, test } from "bun:test";
import type { ModuleRegistry } from "../../src/modules/registry.ts";
import { ModuleAccess } from "../../src/server/module-access.ts";
import { entrySchema, Grant } from "../../src/trust/grant.ts";

const grantOf = (fields: object) => new Grant(entrySchema.parse({ fingerprint: "ab".repeat(32), ...fields }));

/** What a client with this entry may do on a server with `deploy.ts` and `hello.ts`. */
function accessWith(fields: object) {
  const versions = [{ mod: "deploy.ts" }, { mod: "hello.ts" }];
  const registry = {
    current: () => versions,
    stats: () => versions,
    find: (mod: string, tree?: string) => {
      const version = versions.find((each) => each.mod === mod);
      if (version === undefined) return { reason: "not_found" };
      return tree === undefined ? { version } : { reason: "version_mismatch" };
    },
  } as unknown as ModuleRegistry;
  const forbidden: string[] = [];
  const access = new ModuleAccess(registry, grantOf(fields), (request) => forbidden.push(request));
  return { access, forbidden };
}

const codeOf = (action: () => unknown): string => {
  try {
    action();
    return "ok";
  } catch (error) {
    return (error as { code: string }).code;
  }
};

describe("a client whose entry names modules", () => {
  test("sees, verifies and runs those only", () => {
    const { access, forbidden } = accessWith({ modules: ["hello.ts"] });
    expect(access.visible().map(({ mod }) => mod)).toEqual(["hello.ts"]);
    expect(access.stats().map(({ mod }) => mod)).toEqual(["hello.ts"]);
    expect([access.maySee("hello.ts"), access.maySee("deploy.ts")]).toEqual([true, false]);
    expect([access.mayFollow("hello.ts"), access.mayFollow("deploy.ts")]).toEqual([true, false]);
    expect(codeOf(() => access.authorize("exec", "hello.ts"))).toBe("ok");
    expect(codeOf(() => access.authorize("exec", "deploy.ts"))).toBe("forbidden");
    expect(forbidden).toEqual(["exec deploy.ts"]);
  });

  test("may run nothing when none of them is loaded", () => {
    expect(accessWith({ modules: ["hello.ts"] }).access.mayRun).toBe(true);
    expect(accessWith({ modules: ["other.ts"] }).access.mayRun).toBe(false);
  });
});

describe("a client whose entry names actions", () => {
  test("may do those only", () => {
    const { access, forbidden } = accessWith({ actions: ["verify"] });
    expect(codeOf(() => access.authorize("verify", "hello.ts"))).toBe("ok");
    expect(codeOf(() => access.authorize("sync"))).toBe("forbidden");
    expect(codeOf(() => access.authorize("exec", "hello.ts"))).toBe("forbidden");
    expect(forbidden).toEqual(["sync", "exec hello.ts"]);
    expect([access.mayRun, access.mayFollow("hello.ts")]).toEqual([false, false]);
  });

  test("gets the permissions of a changed entry at once", () => {
    const { access } = accessWith({ actions: ["verify"] });
    access.setGrant(grantOf({ name: "alice" }));
    expect(codeOf(() => access.authorize("sync"))).toBe("ok");
    expect([access.mayRun, access.grant.name]).toEqual([true, "alice"]);
  });
});

test("a module, or a version of it, that the server does not have is an error with a code of its own", () => {
  const { access } = accessWith({});
  expect(access.find("hello.ts").mod).toBe("hello.ts");
  expect(codeOf(() => access.find("other.ts"))).toBe("not_found");
  expect(codeOf(() => access.find("hello.ts", "a".repeat(64)))).toBe("version_mismatch");
});
