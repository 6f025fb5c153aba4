import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { Site } from "../helpers/site.ts";
import { connectTo, failureOf } from "../helpers/witness.ts";

describe("the user and environment of a module", () => {
  test("a module sees five variables of the server's environment, and those named by --module-env", async () => {
    const module = "export const execute = () => JSON.stringify(process.env);";
    const all = {
      PATH: "/usr/bin:/bin",
      HOME: "/home/of-server",
      LANG: "C.UTF-8",
      TZ: "Europe/Vienna",
      TMPDIR: "/tmp",
      DATABASE: "db.example.org",
      SECRET: "hunter2",
      VERIPY_LOG_LEVEL: "info",
    };
    await using site = await Site.create({ "env.ts": module });
    const seen = async (flags: string[]) => {
      const server = await site.start(flags, all);
      using client = await connectTo(site);
      const { result } = await client.exec("env");
      server.process.kill("SIGTERM");
      await server.ended();
      return Object.keys(JSON.parse(result) as object).sort();
    };
    const five = ["HOME", "LANG", "PATH", "TMPDIR", "TZ"];
    expect(await seen([])).toEqual(five);
    expect(await seen(["--module-env", "DATABASE", "NOT_THERE"])).toEqual(["DATABASE", ...five]);
  });

  test.skipIf(process.getuid?.() !== 0)(
    "with --module-user it is that user, without the server's groups, and cannot read the server's key",
    async () => {
      await using site = await Site.create({
        "who.ts": `import { readFileSync } from "node:fs";
          export const permissions = "all";
          export function execute(path: string) {
            if (path !== "") return readFileSync(path, "utf8");
            return JSON.stringify([process.getuid!(), process.getgid!(), process.getgroups!()]);
          }`,
      });
      await site.start(["--module-user", "65534:65534"]);
      using client = await connectTo(site);
      const [uid, gid, groups] = JSON.parse((await client.exec("who")).result) as [number, number, number[]];
      expect([uid, gid]).toEqual([65534, 65534]);
      expect(groups.filter((group) => group !== 65534)).toEqual([]);
      expect(await failureOf(client.exec("who", join(site.certs, "server.key")))).toContain("EACCES");
    },
  );

  test("a user that does not exist keeps the server from starting, and the message names it", async () => {
    await using site = await Site.create();
    const user = await site.manage(["--port", "0", "--module-user", "nobody-of-that-name"]);
    expect(user.exitCode).toBe(2);
    expect(user.stderr).toContain("nobody-of-that-name");
  });

  test("a cgroup that does not exist keeps the server from starting, and the message names it", async () => {
    await using site = await Site.create();
    const cgroup = await site.manage(["--port", "0", "--module-cgroup", join(site.path, "no-cgroup")]);
    expect(cgroup.exitCode).toBe(2);
    expect(cgroup.stderr).toContain("no-cgroup");
  });
});

describe("check", () => {
  const good = `import { n } from "./lib/n.ts"; export const description = "fine"; export const execute = () => n;`;

  test("loads modules as the server would, and exits with 0 if all are good", async () => {
    await using site = await Site.create({ "good.ts": good, "lib/n.ts": `export const n = "n";` });
    const { exitCode, stdout } = await site.manage(["check"]);
    expect(stdout).toContain("good.ts");
    expect(exitCode).toBe(0);
  });

  test("says what is wrong with each, and exits with 1", async () => {
    await using site = await Site.create({
      "good.ts": good,
      "lib/n.ts": `export const n = "n";`,
      "syntax.ts": "export const execute = (",
      "empty.ts": "export {};",
      "far.ts": `import "left-pad"; export const execute = () => "";`,
      "dies.ts": "process.exit(4); export const execute = () => '';",
    });
    const { exitCode, stdout, stderr } = await site.manage(["check"]);
    const said = stdout + stderr;
    expect(exitCode).toBe(1);
    expect(said).toContain("syntax.ts");
    expect(said).toContain("empty.ts exports no function 'execute'");
    expect(said).toContain("cannot import 'left-pad'");
    expect(said).toContain("exited with code 4");
    expect((await site.manage(["check", "good.ts"])).exitCode).toBe(0);
    expect((await site.manage(["check", "mods/good.ts"])).exitCode).toBe(0);
    expect((await site.manage(["check", "empty.ts"])).exitCode).toBe(1);
  });
});
