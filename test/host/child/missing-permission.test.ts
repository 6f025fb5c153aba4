import { describe, expect, test } from "bun:test";
import { withDefaultLimits } from "../../../src/base/limits.ts";
import { missingPermission } from "../../../src/host/child/missing-permission.ts";
import { sandboxSupport } from "../../../src/host/parent/sandbox-support.ts";
import { loadVersion } from "../../../src/modules/hosted-version.ts";
import { load, sourceOf } from "../../helpers/versions.ts";

const permissions = { read: ["/var/log"], run: ["git"], connect: [443] };
const say = (error: object) =>
  missingPermission("m.ts", permissions, Object.assign(new Error("refused"), error));

test("the sentence names what was refused, what is declared, and what to add", () => {
  expect(say({ code: "EACCES", syscall: "scandir", path: "/srv" })).toBe(
    `m.ts may not read /srv: it declares read: [/var/log]. Add "/srv" to its 'permissions'.`,
  );
  expect(say({ code: "EACCES", syscall: "open", path: "/etc/passwd" })).toStartWith(
    "m.ts may not read /etc/passwd: ",
  );
  expect(say({ code: "EACCES", syscall: "open", path: "/no/such/file" })).toBe(
    `m.ts may not write /no/such/file: it declares write: []. Add "/no/such" to its 'permissions'.`,
  );
  expect(say({ code: "EACCES", syscall: "open", path: "/var/log" })).toStartWith(
    "m.ts may not write /var/log: ",
  );
  expect(say({ code: "EACCES", syscall: "scandir", path: "/var/log/x" })).toContain(
    "although it declares read: [/var/log]",
  );
  expect(say({ code: "EACCES", syscall: "posix_spawn", path: "ls" })).toBe(
    `m.ts may not run ls: it declares run: [git]. Add "ls" to its 'permissions'.`,
  );
  expect(say({ code: "EACCES", syscall: "connect", port: 80 })).toBe(
    `m.ts may not connect to port 80: it declares connect: [443]. Add 80 to its 'permissions'.`,
  );
  expect(say({ code: "EACCES", path: "http://127.0.0.1/" })).toContain("may not connect to port 80");
  expect(say({ code: "EACCES", syscall: "listen", port: 8080 })).toContain("listen: []. Add 8080");
  expect(say({ code: "EPERM", syscall: "kill" })).toContain("may not signal other processes");
  expect(say({ code: "EACCES", syscall: "chmod", path: "/srv" })).toContain("may not chmod /srv");
});

test("what creates or removes a name needs the permission for the folder", () => {
  for (const syscall of ["mkdir", "unlink", "rm", "mkdtemp"])
    expect(say({ code: "EACCES", syscall, path: "/srv/x" })).toBe(
      `m.ts may not write /srv/x: it declares write: []. Add "/srv" to its 'permissions'.`,
    );
  const two = (syscall: string, path: string) =>
    say({ code: "EACCES", syscall, path, dest: "/srv/new" })?.split(":")[0];
  expect(two("symlink", "/etc/passwd")).toBe("m.ts may not write /srv/new");
  expect(two("copyfile", "/etc/passwd")).toBe("m.ts may not read /etc/passwd");
  expect(two("copyfile", "/var/log/x")).toBe("m.ts may not write /srv/new");
  expect(two("rename", "/etc/passwd")).toBe("m.ts may not write /etc/passwd");
});

test("the synchronous functions of node:child_process have a name of their own for the call", () => {
  expect(say({ code: "EACCES", syscall: "spawnSync ls", path: "ls" })).toContain("may not run ls");
});

test("a Unix socket, UDP, and a port that is declared are not answered with 'add the port'", () => {
  const address = "/run/docker.sock";
  expect(say({ code: "EACCES", syscall: "connect", address })).toBe(
    `m.ts may not connect to the Unix socket ${address}: only permissions = "all" allow it.`,
  );
  expect(say({ code: "EACCES", syscall: "connect", port: 443 })).toContain(
    "may not connect to port 443 although it declares connect: [443]",
  );
  expect(say({ code: "EACCES", syscall: "bind" })).toBeUndefined();
  expect(
    missingPermission("m.ts", {}, Object.assign(new Error("bind"), { code: "EACCES", syscall: "bind" })),
  ).toContain("may not use UDP");
});

test("the reason may be an error's cause", () => {
  const cause = { code: "EACCES", syscall: "scandir", path: "/srv" };
  expect(say({ cause })).toContain("may not read /srv");
  const circle: { cause?: unknown } = {};
  circle.cause = circle;
  expect(missingPermission("m.ts", permissions, circle)).toBeUndefined();
});

test("other errors, values that are none, and modules without a sandbox have no such sentence", () => {
  expect(say({ code: "ENOENT", syscall: "open", path: "/srv" })).toBeUndefined();
  for (const thrown of [undefined, null, "EACCES", 7, { code: "EACCES" }, { code: "EACCES", path: 7 }])
    expect(missingPermission("m.ts", permissions, thrown)).toBeUndefined();
  expect(
    missingPermission("m.ts", undefined, { code: "EACCES", syscall: "open", path: "/srv" }),
  ).toBeUndefined();
});

describe.skipIf(!Object.values(sandboxSupport().enforced).every(Boolean))("in a module's process", () => {
  test("a call that lacks a permission fails with the sentence", async () => {
    await using m = await load(`import { readFile } from "node:fs/promises";
      export const permissions = { read: ["/var/log"] };
      export const execute = (path: string) => readFile(path, "utf8");`);
    expect(await m.failure("/etc/passwd")).toBe(
      `exec_failed: m.ts may not read /etc/passwd: it declares read: [/var/log]. Add "/etc/passwd" to its 'permissions'.`,
    );
    expect(await m.failure("/no/such/file")).toContain("ENOENT");
  });

  test("so does a load", async () => {
    const source = await sourceOf(
      `import { readFileSync } from "node:fs"; readFileSync("/etc/passwd"); export const execute = () => "";`,
    );
    const loading = loadVersion(source, { limits: withDefaultLimits() });
    const error = await loading.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({
      code: "bad_module",
      message: `m.ts may not read /etc/passwd: it declares read: []. Add "/etc/passwd" to its 'permissions'.`,
    });
  });
});
