import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { newIdentity, trustEntries, trustText } from "../helpers/keys.ts";
import { run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";

setDefaultTimeout(20_000);

let site: Site;
beforeAll(async () => {
  site = await Site.create();
});
afterAll(() => site[Symbol.asyncDispose]());

/** Runs `during` while a file or folder of the site has other rights. */
async function withMode(
  name: string,
  change: number,
  during: (path: string) => Promise<void>,
): Promise<void> {
  const path = join(site.path, name);
  const { mode } = await stat(path);
  await chmod(path, (mode & 0o7777) | change);
  try {
    await during(path);
  } finally {
    await chmod(path, mode & 0o7777);
  }
}

describe.skipIf(process.platform === "win32")("a world-writable file or directory", () => {
  test.each(["trusted-keys.json", "certs", "certs/invitations.json"])(
    "keeps a server from starting, and the command in the message fixes it: %s",
    async (name) => {
      await site.manage(["invite"]);
      await withMode(name, 0o002, async () => {
        const refused = await site.manage(["--port", "0"]);
        expect([refused.exitCode, refused.stdout]).toEqual([2, ""]);
        const [command = ""] = /chmod o-w .*$/m.exec(refused.stderr) ?? [];
        expect(command.replace("./", "")).toBe(`chmod o-w ${name}`);
        await site.type(command);
        await using server = await site.start();
        await server.line("Listening on");
      });
    },
  );

  test.each(["known-servers.json", "server.crt", "."])(
    "is not used by a client, and the command in the message fixes it: %s",
    async (name) => {
      await using _ = await site.start();
      const client = await site.newClient(`careless-${name.length}`);
      const { certs } = client;
      const list = () => site.call(["--certs", certs, "list"]);
      await site.admit(client);
      await writeFile(join(certs, "known-servers.json"), "{}");
      const path = join(certs, name);
      await chmod(path, (await stat(path)).mode | 0o002);
      const refused = await list();
      expect(refused.exitCode).toBe(2);
      const [command = ""] = /chmod o-w .*$/m.exec(refused.stderr) ?? [];
      await site.type(command);
      expect((await list()).exitCode).toBe(0);
    },
  );

  test("does not cost a client its invitation", async () => {
    await using _ = await site.start();
    const { certs } = await site.newClient("open-to-all");
    const { stdout } = await site.manage(["invite", "--json"]);
    const { code } = JSON.parse(stdout) as { code: string };
    const join = () => run([site.client, "join", `localhost:${site.port}`, code, "--certs", certs]);
    await chmod(certs, 0o777);
    expect((await join()).stderr).toContain(`chmod o-w ${certs}`);
    await chmod(certs, 0o700);
    expect(await join()).toMatchObject({ exitCode: 0, stderr: "" });
  });

  test("is not read by a running server, which says so, but a revocation takes effect at once", async () => {
    await using server = await site.start();
    const client = await site.newClient("leaving");
    const { certs } = client;
    const list = () => site.call(["--certs", certs, "list"]);
    await site.admit(client, "--name", "leaving");
    const watching = site.watch(["--json", "--certs", certs]);
    await watching.line('"verified":true');
    const intruder = await newIdentity();
    await withMode("trusted-keys.json", 0o002, async (path) => {
      const entries = trustEntries(await readFile(path, "utf8"));
      await writeFile(path, trustText(...entries, intruder.fingerprint));
      expect(await server.line("Kept the last good trusted keys", 1_500)).toContain(`chmod o-w`);
      expect((await list()).exitCode).toBe(0);
      const refused = await site.manage(["trust", "ab".repeat(32)]);
      expect([refused.exitCode, refused.stderr.includes("chmod o-w")]).toEqual([2, true]);
      const revoked = await site.manage(["untrust", "leaving"]);
      expect(revoked.exitCode).toBe(0);
      expect(revoked.stderr).toContain("check the remaining entries");
      await watching.line('"event":"disconnected"', 1_000);
      expect((await stat(path)).mode & 0o002).toBe(0);
    });
  });
});

test.skipIf(process.platform === "win32")(
  "a group-writable file or directory causes a warning, on both sides",
  async () => {
    for (const name of ["trusted-keys.json", "certs"]) {
      await withMode(name, 0o020, async () => {
        await using server = await site.start();
        const line = await server.line("Every member of its group can write to");
        expect(JSON.parse(line)).toMatchObject({ level: "warning" });
        expect(line).toContain(`chmod g-w ./${name}`);
        const listed = await site.call(["list"]);
        expect(listed.exitCode).toBe(0);
        if (name === "certs") expect(listed.stderr).toContain("chmod g-w ./certs");
        else expect(listed.stderr).toBe("");
      });
    }
  },
);
