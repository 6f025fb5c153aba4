import { afterAll, describe, expect, test } from "bun:test";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { eventually } from "../helpers/within.ts";

const moduleOf = (answer: string) =>
  `export async function execute() { return ${JSON.stringify(answer)}; }\n`;

/** A server's folder with the key and the `signers` file of ops@example. */
async function signedSite(modules: Record<string, string> = { "a.ts": moduleOf("one") }): Promise<Site> {
  const site = await Site.create(modules);
  await newKey(site, "key");
  const [type, base64] = (await readFile(join(site.path, "key.pub"), "utf8")).split(" ");
  await Bun.write(join(site.path, "signers"), `ops@example ${type} ${base64}\n`);
  return site;
}

async function newKey(site: Site, name: string): Promise<void> {
  await run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", name], { cwd: site.path });
}

async function sign(site: Site, ...flags: string[]): Promise<void> {
  const { exitCode, stderr } = await site.manage(["sign", "--key", "key", ...flags]);
  if (exitCode !== 0) throw new Error(`sign failed: ${stderr}`);
}

const signers = ["--signers", "signers"];
const readCatalogue = (site: Site) => readFile(join(site.path, "veripy.catalogue"), "utf8");

describe("veripy-server sign", () => {
  test("makes a catalogue that sha256sum and ssh-keygen accept, with the next serial and the same name", async () => {
    await using site = await signedSite({
      "a.ts": `import "./lib/b.ts";\n${moduleOf("one")}`,
      "lib/b.ts": "",
      "x.txt": "",
    });
    const unnamed = await site.manage(["sign", "--key", "key"]);
    expect(unnamed.exitCode).toBe(2);
    expect(unnamed.stderr).toContain("--name NAME");
    await sign(site, "--name", "prod");
    const first = await readCatalogue(site);
    expect(
      first
        .split("\n")
        .slice(4)
        .map((line) => line.slice(66)),
    ).toEqual(["mods/a.ts", "mods/hello.ts", "mods/lib/b.ts", "trusted-keys.json", ""]);
    await sign(site);
    expect(await readCatalogue(site)).toContain("# name prod\n# serial 2\n");
    const sums = await run(["sha256sum", "--strict", "--quiet", "-c", "veripy.catalogue"], {
      cwd: site.path,
    });
    expect(sums.exitCode).toBe(0);
    const verify =
      "ssh-keygen -Y verify -f signers -I ops@example -n catalogue@veripy -s veripy.catalogue.sig < veripy.catalogue";
    expect((await run(["sh", "-c", verify], { cwd: site.path })).exitCode).toBe(0);
    await Bun.write(join(site.path, "veripy.catalogue"), `${await readCatalogue(site)}\n`);
    expect((await run(["sh", "-c", verify], { cwd: site.path })).exitCode).not.toBe(0);
  }, 60_000);

  test("leaves both files as they are when nothing can be signed", async () => {
    await using site = await signedSite();
    await sign(site, "--name", "prod");
    const before = [
      await readCatalogue(site),
      await readFile(join(site.path, "veripy.catalogue.sig"), "utf8"),
    ];
    await newKey(site, "other");
    await run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", "locked"], { cwd: site.path });
    await Bun.write(join(site.path, "garbage"), "no key\n");
    for (const [flags, why] of [
      [["--key", "absent"], "there is no such file"],
      [["--key", "garbage"], "ssh-keygen failed"],
      [["--key", "locked"], "ssh-keygen failed"],
      [["--key", "other", ...signers], "none of the allowed signers'"],
      [["--key", "key", "--server", `${"0".repeat(64)}@host`], "FINGERPRINT@HOST:PORT"],
    ] as const) {
      const env = { SSH_AUTH_SOCK: "", SSH_ASKPASS_REQUIRE: "never" };
      const { exitCode, stderr } = await run(["setsid", site.server, "sign", ...flags], {
        cwd: site.path,
        env,
      });
      expect(stderr).toContain(why);
      expect(exitCode).toBeGreaterThan(0);
    }
    const missing = await site.manage(["sign", "--key", "key"], { env: { PATH: join(site.path, "mods") } });
    expect(missing.stderr).toContain("no 'ssh-keygen' in PATH");
    await site.write("broken.ts", "export const x = 1;\n");
    expect((await site.manage(["sign", "--key", "key"])).stderr).toContain("broken.ts");
    expect([
      await readCatalogue(site),
      await readFile(join(site.path, "veripy.catalogue.sig"), "utf8"),
    ]).toEqual(before);
  }, 60_000);

  test("catalogue shows what differs, and a catalogue that was changed is a failure", async () => {
    await using site = await signedSite();
    await sign(site, "--name", "prod");
    await site.write("a.ts", moduleOf("two"));
    await site.write("new.ts", moduleOf("new"));
    const { exitCode, stdout } = await site.manage(["catalogue", "--json", ...signers]);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      name: "prod",
      serial: 1,
      principal: "ops@example",
      differences: [
        { path: "mods/a.ts", kind: "changed" },
        { path: "mods/new.ts", kind: "unsigned" },
      ],
    });
    await Bun.write(
      join(site.path, "veripy.catalogue"),
      (await readCatalogue(site)).replace("serial 1", "serial 9"),
    );
    const tampered = await site.manage(["catalogue", ...signers]);
    expect(tampered.exitCode).toBe(1);
    expect(tampered.stdout).toContain("does not fit its text");
  }, 60_000);
});

describe("a server with --signers", async () => {
  const site = await signedSite();
  afterAll(() => site[Symbol.asyncDispose]());
  await sign(site, "--name", "prod");
  const metrics = 20_000 + (process.pid % 20_000);
  const server = await site.start([...signers, "--metrics", String(metrics)]);
  const ready = async () => (await fetch(`http://127.0.0.1:${metrics}/readyz`)).text();
  const answer = async (mod = "a.ts") => (await site.call(["exec", mod])).stdout.trim();

  test("serves what is listed; an unsigned edit is refused, and the last good version goes on", async () => {
    expect(await answer()).toBe("one");
    await site.write("a.ts", moduleOf("two"));
    await server.line("a.ts: not in the catalogue prod, serial 1");
    expect(await answer()).toBe("one");
    expect(await ready()).toBe("ready\n");
  }, 30_000);

  test("takes up a newly signed catalogue, and a module that it no longer lists takes no call", async () => {
    await site.write("b.ts", moduleOf("b"));
    await sign(site);
    await server.line('"serial":2');
    await eventually("the new version", async () => (await answer()) === "two");
    expect(await answer("b.ts")).toBe("b");
    await rm(join(site.path, "mods/b.ts"));
    await sign(site);
    await server.line('"serial":3');
    await site.write("b.ts", moduleOf("b"));
    await server.line("b.ts: not in the catalogue prod, serial 3");
    expect((await site.call(["exec", "b.ts"])).exitCode).not.toBe(0);
  }, 60_000);

  test("refuses a rollback, another signer and another namespace, and goes on with what it has", async () => {
    const [good, goodSignature] = [
      await readCatalogue(site),
      await readFile(join(site.path, "veripy.catalogue.sig"), "utf8"),
    ];
    const older = good.replace("# serial 3", "# serial 2");
    const put = async (text: string, key: string, namespace = "catalogue@veripy") => {
      await Bun.write(join(site.path, "t"), text);
      await rm(join(site.path, "t.sig"), { force: true });
      await run(["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", key, "t"], { cwd: site.path });
      await Bun.write(join(site.path, "veripy.catalogue.sig"), Bun.file(join(site.path, "t.sig")));
      await Bun.write(join(site.path, "veripy.catalogue"), text);
    };
    await newKey(site, "other");
    await put(older, "key");
    await server.line("serial 3 was accepted before");
    expect((await readdir(join(site.path, ".veripy/evidence"))).length).toBe(4);
    await put(good.replace("# serial 3", "# serial 4"), "other");
    await server.line("none of the allowed signers'");
    await put(good.replace("# serial 3", "# serial 4"), "key", "file");
    await server.line("namespace 'file'");
    await put(good.replace("# serial 3", "# serial 4").replace("# name prod", "# name test"), "key");
    await server.line("its name is test");
    await put(good.replace("# serial 3", "# serial 4").replace(/issued \d+/, "issued 2999"), "key");
    await server.line("check the clock");
    await put(good.replaceAll("\n", "\r\n"), "key");
    await server.line("lines must end with LF alone");
    await Bun.write(join(site.path, "veripy.catalogue.sig"), goodSignature);
    await Bun.write(join(site.path, "veripy.catalogue"), good);
    expect(await answer()).toBe("two");
    expect(await ready()).toBe("ready\n");
  }, 60_000);

  test("hands out the catalogue, and trust, invite and untrust know that the trust file is signed", async () => {
    const { certs, fingerprint } = await site.newClient("second");
    const refused = await site.manage(["trust", fingerprint]);
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toContain("sign the catalogue anew");
    expect((await site.manage(["invite"])).exitCode).toBe(2);
    const trustFile = join(site.path, "trusted-keys.json");
    const before = await readFile(trustFile, "utf8");
    await Bun.write(trustFile, before.replace("[", `["${fingerprint}",`));
    await server.line("trusted-keys.json: not in the catalogue prod, serial 3");
    expect((await site.call(["--certs", certs, "list"])).exitCode).not.toBe(0);
    await sign(site);
    await site.admitted(certs);
    expect((await site.manage(["untrust", fingerprint])).exitCode).toBe(0);
    await eventually(
      "the key to be refused",
      async () => (await site.call(["--certs", certs, "list"])).exitCode !== 0,
    );
    await Bun.write(join(site.path, "revoked-keys.json"), "{");
    await server.line("Kept the last good trusted keys: revoked-keys.json");
    expect((await site.call(["--certs", certs, "list"])).exitCode).not.toBe(0);
    expect((await site.call(["list"])).exitCode).toBe(0);
  }, 60_000);

  test("is no longer ready when the signer is removed, and goes on serving", async () => {
    const file = join(site.path, "signers");
    const text = await readFile(file, "utf8");
    await Bun.write(file, "no signer\n");
    await server.line("signers: line 1");
    expect(await ready()).toBe("ready\n");
    await Bun.write(file, text.replace("ops@example", 'ops@example valid-before="20200101"'));
    await eventually("the server not to be ready", async () => (await ready()).includes("no longer valid"));
    expect(await answer()).toBe("two");
    await Bun.write(file, text);
    await eventually("the server to be ready", async () => (await ready()) === "ready\n");
  }, 30_000);
});

describe("a start with --signers", () => {
  test("without a catalogue serves nothing and is not ready, until a valid one comes", async () => {
    await using site = await signedSite();
    const port = 20_001 + (process.pid % 20_000);
    const server = await site.start([...signers, "--metrics", String(port), "--min-serial", "2"]);
    const ready = async () => await fetch(`http://127.0.0.1:${port}/readyz`);
    expect((await ready()).status).toBe(503);
    expect(await (await ready()).text()).toContain("There is no ./veripy.catalogue.");
    expect((await site.call(["list"])).exitCode).not.toBe(0);
    await sign(site, "--name", "prod");
    await server.line("its serial must be at least 2");
    await sign(site);
    await eventually("the server to be ready", async () => (await ready()).status === 200);
    await eventually("a call", async () => (await site.call(["exec", "a.ts"])).stdout.trim() === "one");
  }, 60_000);

  test("fails with the line of a mistake in the signers' file, and refuses a catalogue for other servers", async () => {
    await using site = await signedSite();
    await sign(site, "--name", "prod", "--server", `${"0".repeat(64)}@host:1`);
    const server = await site.start(signers);
    await server.line("it is for other servers");
    await Bun.write(join(site.path, "bad"), "# ok\nops@example ssh-ed25519 AAAA\n");
    const failed = await site.manage(["start", "--port", "0", "--signers", "bad"]);
    expect(failed.exitCode).toBe(2);
    expect(failed.stderr).toContain("bad: line 2");
  }, 60_000);
});
