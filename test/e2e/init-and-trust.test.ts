import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { binaries } from "../helpers/binaries.ts";
import { trustEntries, trustText } from "../helpers/keys.ts";
import { type Ended, Running, run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";
import { jsonLines, openssl } from "../helpers/tools.ts";
import { within } from "../helpers/within.ts";

setDefaultTimeout(20_000);

let built: { server: string; client: string };
beforeAll(async () => {
  built = await binaries();
});

/** An empty folder, and the server's commands in it. */
async function folder(): Promise<
  { path: string; server(...args: string[]): Promise<Ended> } & AsyncDisposable
> {
  const directory = await temporaryDirectory();
  const server = (...args: string[]) => run([built.server, ...args], { cwd: directory.path });
  return { ...directory, server };
}

/** Path, content and time of the last change of everything below. */
async function snapshot(path: string): Promise<string[]> {
  const names = (await readdir(path, { recursive: true })).sort();
  return Promise.all(
    names.map(async (name) => {
      const status = await stat(join(path, name));
      const content = status.isFile() ? await readFile(join(path, name), "base64") : "";
      return `${name} ${status.mode.toString(8)} ${status.isFile() ? status.mtimeMs : ""} ${content}`;
    }),
  );
}

describe("veripy-server init", () => {
  test("makes what a first run needs, and names the two commands to type next", async () => {
    await using here = await folder();
    const { exitCode, stdout } = await here.server("init");
    expect(exitCode).toBe(0);
    const made = ["certs/client.crt", "certs/client.key", "certs/server.crt", "certs/server.key"];
    expect((await readdir(here.path, { recursive: true })).sort()).toEqual(
      ["certs", "mods", "mods/hello.ts", "trusted-keys.json", ...made].sort(),
    );
    for (const path of [...made, "trusted-keys.json", "mods/hello.ts"]) expect(stdout).toContain(path);
    expect(stdout).toEndWith("\n  veripy-server\n  veripy-client\n");
    for (const key of ["certs/client.key", "certs/server.key"])
      expect((await stat(join(here.path, key))).mode & 0o777).toBe(0o600);
    expect(await Bun.file(join(here.path, "mods/hello.ts")).text()).toBe(
      await Bun.file(join(import.meta.dir, "../../mods/hello.ts")).text(),
    );
    const { client } = jsonLines((await here.server("init", "--json")).stdout)[0] ?? {};
    expect(await Bun.file(join(here.path, "trusted-keys.json")).text()).toBe(
      `{\n  "trusted_fingerprints": [\n    "${client}"\n  ]\n}\n`,
    );
  });

  test("changes nothing the second time, and says so", async () => {
    await using here = await folder();
    await here.server("init");
    const before = await snapshot(here.path);
    const { exitCode, stdout } = await here.server("init");
    expect(exitCode).toBe(0);
    expect(stdout).toContain("nothing was changed");
    expect(await snapshot(here.path)).toEqual(before);
  });

  test("makes only what is missing", async () => {
    await using here = await folder();
    await here.server("init");
    const before = await snapshot(here.path);
    await rm(join(here.path, "mods"), { recursive: true });
    const { stdout } = await here.server("init", "--json");
    expect(jsonLines(stdout)[0]?.made).toEqual(["mods/hello.ts"]);
    const withoutMods = (lines: string[]) => lines.filter((line) => !line.startsWith("mods"));
    expect(withoutMods(await snapshot(here.path))).toEqual(withoutMods(before));
  });

  test("does not trust a client again that was removed from the list", async () => {
    await using here = await folder();
    const { client } = jsonLines((await here.server("init", "--json")).stdout)[0] ?? {};
    await here.server("untrust", String(client));
    await here.server("init");
    expect(await Bun.file(join(here.path, "trusted-keys.json")).json()).toEqual({ trusted_fingerprints: [] });
  });
});

describe("veripy-server trust and untrust", () => {
  const [alice, bob] = ["a1".repeat(32), "b0".repeat(32)] as const;

  test("keep what else is in the file, byte for byte", async () => {
    await using here = await folder();
    const path = join(here.path, "trusted-keys.json");
    const written = `{ "trusted_fingerprints":\n[\n  "${alice}",\n\n  { "name":"carol",\t"fingerprint": "${"c4".repeat(32)}",\n    "modules": ["hello.ts"] }\n]}\n`;
    await writeFile(path, written, { mode: 0o640 });
    await chmod(path, 0o640);

    const trusted = await here.server("trust", bob.toUpperCase(), "--name", "bob");
    expect(trusted).toMatchObject({ exitCode: 0, stdout: `Trusted ${bob}.\n` });
    const after = await Bun.file(path).text();
    expect(after).toStartWith(written.slice(0, -4));
    expect(trustEntries(after)).toHaveLength(3);
    expect((await stat(path)).mode & 0o777).toBe(0o640);

    const again = await here.server("trust", bob);
    expect(again).toMatchObject({
      exitCode: 0,
      stdout: `${bob} is already trusted; nothing was changed.\n`,
    });
    expect(await Bun.file(path).text()).toBe(after);

    expect((await here.server("untrust", "bob")).exitCode).toBe(0);
    expect(await Bun.file(path).text()).toBe(written);
    const gone = await here.server("untrust", bob);
    expect(gone).toMatchObject({ exitCode: 2, stdout: "" });
    expect(gone.stderr).toContain(`It contains: ${alice}, carol.`);
    expect(await Bun.file(path).text()).toBe(written);
    expect(await readdir(here.path)).toEqual(["trusted-keys.json"]);
  });

  test("both take effect when many run at once", async () => {
    await using here = await folder();
    const keys = Array.from({ length: 8 }, (_, index) => index.toString(16).repeat(64));
    await writeFile(join(here.path, "trusted-keys.json"), trustText(alice));
    const ended = await Promise.all([
      here.server("untrust", alice),
      ...keys.map((key) => here.server("trust", key)),
    ]);
    expect(ended.map(({ exitCode }) => exitCode)).toEqual(ended.map(() => 0));
    expect(trustEntries(await Bun.file(join(here.path, "trusted-keys.json")).text()).sort()).toEqual(keys);
  });

  test("work at once after a command that was killed while it edited", async () => {
    await using here = await folder();
    const path = join(here.path, "trusted-keys.json");
    await writeFile(path, trustText(alice));
    const script = join(import.meta.dir, "../base/fixtures/hold-lock.ts");
    await using editing = new Running([process.execPath, script, path]);
    await editing.line("locked");
    const revoking = here.server("untrust", alice);
    editing.process.kill("SIGKILL");
    expect(await within(2_000, "the revocation", revoking)).toMatchObject({ exitCode: 0, stderr: "" });

    // The same when it has been dead for a while, and another process has its number by now.
    await writeFile(`${path}.lock`, `${process.pid}\n`);
    const trusted = here.server("trust", bob);
    expect(await within(2_000, "the edit", trusted)).toMatchObject({ exitCode: 0, stderr: "" });
    expect(trustEntries(await Bun.file(path).text())).toEqual([bob]);
    expect(await readdir(here.path)).toEqual(["trusted-keys.json"]);
  });

  test("trust says which entry has the key as its next one, and changes nothing then", async () => {
    await using here = await folder();
    const path = join(here.path, "trusted-keys.json");
    const text = trustText(alice, { fingerprint: "c4".repeat(32), name: "carol", next: bob });
    await writeFile(path, text);
    for (const [args, why] of [
      [[bob], "it is the next key of trusted_fingerprints[1] ('carol')"],
      [[bob, "--name", "bob"], "it is the next key of trusted_fingerprints[1] ('carol')"],
    ] as const) {
      const refused = await here.server("trust", ...args);
      expect([refused.exitCode, refused.stdout]).toEqual([2, ""]);
      expect(refused.stderr).toContain(why);
    }
    expect((await here.server("trust", alice)).stdout).toContain("nothing was changed");
    expect(await Bun.file(path).text()).toBe(text);
  });

  test.each([
    ["abc", "64 hexadecimal digits"],
    [`${alice}0`, "64 hexadecimal digits"],
    [alice.replace("a", "g"), '"g"'],
  ])("refuse %p as a fingerprint, and touch nothing", async (text, why) => {
    await using here = await folder();
    await writeFile(join(here.path, "trusted-keys.json"), trustText());
    const refused = await here.server("trust", text);
    expect(refused).toMatchObject({ exitCode: 2, stdout: "" });
    expect(refused.stderr).toContain(why);
    expect(await Bun.file(join(here.path, "trusted-keys.json")).text()).toBe(trustText());
  });

  test("refuse to edit a file that is broken, with its place, and touch nothing", async () => {
    await using here = await folder();
    const broken = '{"trusted_fingerprints": [\n  "x",,\n]}\n';
    await writeFile(join(here.path, "trusted-keys.json"), broken);
    for (const command of [
      ["trust", alice],
      ["untrust", alice],
    ]) {
      const refused = await here.server(...command);
      expect(refused.exitCode).toBe(2);
      expect(refused.stderr).toContain("trusted-keys.json: line 2, column");
    }
    expect(await Bun.file(join(here.path, "trusted-keys.json")).text()).toBe(broken);
  });
});

describe("fingerprints", () => {
  test.skipIf(openssl === undefined)("are what openssl computes, if it is there", async () => {
    await using site = await Site.create();
    for (const [role, command] of [
      ["server", site.server],
      ["client", site.client],
    ] as const) {
      const pipeline = `openssl x509 -in certs/${role}.crt -noout -pubkey | openssl pkey -pubin -outform der | sha256sum`;
      const { stdout } = await run(["sh", "-c", pipeline], { cwd: site.path });
      const own = await run([command, "fingerprint"], { cwd: site.path });
      expect(own).toEqual({ exitCode: 0, stdout: `${stdout.slice(0, 64)}\n`, stderr: "" });
    }
  });

  test("of a client that has no key yet are an error that says what makes one", async () => {
    await using here = await temporaryDirectory();
    const { exitCode, stderr } = await run([built.client, "fingerprint"], { cwd: here.path });
    expect(exitCode).toBe(2);
    expect(stderr).toContain("veripy-client init");
    expect(await readdir(here.path)).toEqual([]);
  });

  test("stay when a certificate is renewed", async () => {
    await using site = await Site.create();
    await site.start();
    const before = await Bun.file(join(site.certs, "client.crt")).text();
    expect((await site.call(["renew"])).exitCode).toBe(0);
    expect(await Bun.file(join(site.certs, "client.crt")).text()).not.toBe(before);
    expect((await site.call(["exec", "hello"])).stdout).toBe("Hello, World!\n");
  });
});

test("veripy-client init makes a key once, and says what to type on the server", async () => {
  await using here = await temporaryDirectory();
  const init = () => run([built.client, "init"], { cwd: here.path });
  const first = await init();
  const { stdout: fingerprint } = await run([built.client, "fingerprint"], { cwd: here.path });
  expect(first.stdout).toEndWith(`veripy-server trust ${fingerprint}`);
  const before = await snapshot(here.path);
  const second = await init();
  expect(second.stdout).toContain("nothing was changed");
  expect(await snapshot(here.path)).toEqual(before);
});

test("a server that starts without a key makes one and logs its fingerprint", async () => {
  await using here = await folder();
  await writeFile(join(here.path, "trusted-keys.json"), trustText());
  await mkdir(join(here.path, "mods"));
  await using server = new Running([built.server, "--port", "0"], { cwd: here.path });
  const line = await server.line("Listening on");
  const fingerprint = (await here.server("fingerprint")).stdout.trim();
  expect(line).toContain(fingerprint);
  expect((await stat(join(here.path, "certs/server.key"))).mode & 0o777).toBe(0o600);
});

test.skipIf(process.platform === "win32").each([["init"], ["fingerprint"], ["--help"], ["trust --help"]])(
  "%s for a reader who has seen enough is no error",
  async (command) => {
    await using here = await folder();
    await here.server("init");
    // The pipe is closed before the first line is written.
    const script = `{ sleep 0.3; ${built.server} ${command}; echo $? >&2; } | true`;
    expect((await run(["sh", "-c", script], { cwd: here.path })).stderr).toBe("0\n");
  },
);
