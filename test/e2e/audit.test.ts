import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { closeSync, openSync, writeSync } from "node:fs";
import { mkdir, readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { dial, request } from "../helpers/frames.ts";
import { clientOf, newIdentity } from "../helpers/keys.ts";
import { type Running, run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { Stranger } from "../helpers/stranger.ts";
import { jsonLines, sha256 } from "../helpers/tools.ts";
import { eventually } from "../helpers/within.ts";

setDefaultTimeout(20_000);

const shout = "export const execute = async (args: string) => args.toUpperCase() + '!';";
const count = "let calls = 0; export const execute = async () => String(++calls);";
const parts = "export async function* execute() { yield 'one'; yield 'two'; return 'three'; }";

type Entry = Record<string, unknown>;

const digestOf = (entry: Entry = {}) => entry.args as { sha256: string };

async function recordsIn(path: string): Promise<Entry[]> {
  return jsonLines(await Bun.file(path).text());
}

describe("the audit log", () => {
  let site: Site;
  const path = () => join(site.path, "audit.log");
  const records = () => recordsIn(path());
  const recorded = (matches: (entry: Entry) => boolean) =>
    eventually("a record", async () => (await records()).find(matches));
  /** In the file that those who may run nothing can fill. */
  const refused = (matches: (entry: Entry) => boolean) =>
    eventually("a refusal", async () => {
      const file = `${path()}.refused`;
      return (await Bun.file(file).exists()) && (await recordsIn(file)).find(matches);
    });

  beforeAll(async () => {
    site = await Site.create({ "shout.ts": shout, "parts.ts": parts });
    await site.start(["--audit", "audit.log"]);
  });
  afterAll(() => site[Symbol.asyncDispose]());

  test("has a record of every request before its answer arrives, with digests as sha256sum prints them", async () => {
    using client = await dial(site.port, site.certs);
    const args = "pässword-123 \u{1f511}";
    const { payload } = await request(client, "mod:exec", { mod: "shout.ts", args }, "my-ref");
    const entry = (await records()).find(({ ref }) => ref === "my-ref");
    const result = `${args.toUpperCase()}!`;
    expect(payload.result).toBe(result);
    expect(entry).toMatchObject({
      event: "exec",
      fingerprint: (await clientOf(site)).fingerprint,
      mod: "shout.ts",
      tree: payload.tree as string,
      code: "ok",
      args: { bytes: Buffer.byteLength(args), sha256: sha256(args) },
      result: { bytes: Buffer.byteLength(result), sha256: sha256(result) },
    });
    expect(entry?.address).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(Date.parse(String(entry?.time))).toBeGreaterThan(Date.now() - 10_000);
    if (Bun.which("sha256sum") !== null) {
      const { stdout } = await run(["sha256sum"], { stdin: args });
      expect(stdout).toBe(`${digestOf(entry).sha256}  -\n`);
    }

    for (const [header, event] of [
      ["mod:sync", "sync"],
      ["mod:stats", "stats"],
    ] as const) {
      await request(client, header, {}, event);
      expect((await records()).find(({ ref }) => ref === event)).toMatchObject({ event, code: "ok" });
    }
    await request(client, "mod:verify", { mod: "shout.ts" }, "v");
    expect((await records()).find(({ ref }) => ref === "v")).toMatchObject({
      event: "verify",
      mod: "shout.ts",
    });
  });

  test("has no content of arguments, results, parts or sources", async () => {
    using client = await dial(site.port, site.certs);
    await request(client, "mod:exec", { mod: "shout.ts", args: "open sesame" });
    await request(client, "mod:verify", { mod: "shout.ts" }, "2");
    await eventually("the last part's answer", async () => {
      client.send('mod:exec:3 {"mod":"parts.ts","args":"secret seed"}\n');
      return client.line("mod:exec_resp:3");
    });
    const text = await Bun.file(path()).text();
    for (const content of ["open sesame", "OPEN SESAME", "secret seed", '"three"', "toUpperCase"]) {
      expect(text).not.toContain(content);
    }
    expect((await records()).find(({ ref }) => ref === "3")).toMatchObject({ mod: "parts.ts", parts: 2 });
  });

  test("has failures with their codes, and names that no module has", async () => {
    using client = await dial(site.port, site.certs);
    await request(client, "mod:exec", { mod: "no-such.ts", args: "" }, "none");
    await request(client, "mod:exec", { mod: "shout.ts" }, "bad");
    await request(client, "mod:exec", { mod: "shout.ts", args: "", tree: "0".repeat(64) }, "old");
    const entries = await records();
    const codeOf = (wanted: string) => entries.find(({ ref }) => ref === wanted)?.code;
    expect([codeOf("none"), codeOf("bad"), codeOf("old")]).toEqual([
      "not_found",
      "bad_request",
      "version_mismatch",
    ]);
  });

  test("has connections, disconnections and refusals", async () => {
    const client = await dial(site.port, site.certs);
    await request(client, "sys:ping", {});
    const { address } = (await records()).filter(({ event }) => event === "connected").at(-1) as Entry;
    client.terminate();
    await recorded((entry) => entry.event === "disconnected" && entry.address === address);

    const stranger = await site.newClient("stranger");
    using unknown = await dial(site.port, stranger.certs);
    await unknown.closed;
    await refused(
      ({ event, reason, fingerprint }) =>
        event === "refused" && reason === "untrusted" && fingerprint === stranger.fingerprint,
    );
  });

  test("has every change of the modules", async () => {
    await site.write("fresh.ts", shout);
    const loaded = await recorded(({ event, mod }) => event === "modload" && mod === "fresh.ts");
    expect(loaded).toMatchObject({ sum: sha256(shout), tree: expect.stringMatching(/^[0-9a-f]{64}$/) });
    await site.write("fresh.ts", `${shout}\n`);
    await recorded(({ event, sum }) => event === "modreload" && sum === sha256(`${shout}\n`));
    await site.write("fresh.ts", "export const nothing = 1;");
    await recorded(({ event, mod }) => event === "moderror" && mod === "fresh.ts");
    await rm(join(site.path, "mods/fresh.ts"));
    await recorded(({ event, mod }) => event === "modunload" && mod === "fresh.ts");
  });

  test("has every change of trust, and who caused it", async () => {
    const trusted = join(site.path, "trusted-keys.json");
    const good = await Bun.file(trusted).text();
    await writeFile(trusted, "[");
    await recorded(({ event, error }) => event === "trust" && String(error).includes("trusted-keys.json"));
    await writeFile(trusted, good);

    const { stdout } = await site.manage(["invite", "--name", "zoe", "--json"]);
    const { code } = JSON.parse(stdout) as { code: string };
    using liar = await Stranger.connect(site.port, await newIdentity());
    liar.send(`sys:join:1 {"id":"${code.slice(0, 4)}","proof":"${"0".repeat(64)}"}\n`);
    await refused(({ event, reason }) => event === "refused" && reason === "wrong_code");

    const certs = join(site.path, "zoe");
    const target = `localhost:${site.port}`;
    const joined = await run([site.client, "join", target, code, "--certs", certs, "--json"]);
    const { client } = JSON.parse(joined.stdout) as { client: string };
    await recorded(
      (entry) => entry.event === "joined" && entry.name === "zoe" && entry.fingerprint === client,
    );
    await recorded(({ event, keys }) => event === "trust" && keys === 2);

    const rotated = await site.call(["rotate", "--certs", certs, "--json"]);
    const { new: next } = JSON.parse(rotated.stdout) as { new: string };
    await recorded(
      (entry) => entry.event === "key_announced" && entry.fingerprint === client && entry.next === next,
    );
    await recorded((entry) => entry.event === "key_confirmed" && entry.fingerprint === next);
  });

  test("can be read by its owner only", async () => {
    if (process.platform === "win32") return;
    for (const file of [path(), `${path()}.refused`]) expect((await stat(file)).mode & 0o777).toBe(0o600);
  });
});

describe("an audit log with a size", () => {
  test("is rotated before it would exceed the size, at the end of a line, and only the given number is kept", async () => {
    await using site = await Site.create({ "shout.ts": shout });
    await site.start(["--audit", "audit.log", "--audit-max-size", "2048", "--audit-keep", "2"]);
    using client = await dial(site.port, site.certs);
    for (let index = 0; index < 40; index++) {
      await request(client, "mod:exec", { mod: "shout.ts", args: `${index}` }, `n${index}`);
    }
    const names = (await readdir(site.path)).filter((name) => name.startsWith("audit")).sort();
    expect(names).toEqual(["audit.log", "audit.log.1", "audit.log.2"]);
    const all: Entry[] = [];
    for (const name of names.reverse()) {
      const { size } = await stat(join(site.path, name));
      expect(size).toBeLessThanOrEqual(2_048);
      all.push(...(await recordsIn(join(site.path, name))));
    }
    // No record is torn, doubled or out of order; the oldest are gone.
    const refs = all.map(({ ref }) => ref).filter((ref) => ref !== undefined);
    expect(refs).toEqual(Array.from({ length: refs.length }, (_, index) => `n${40 - refs.length + index}`));
    expect(refs.length).toBeLessThan(40);
    expect(refs.length).toBeGreaterThan(5);
  });

  test("continues in the existing file after a restart", async () => {
    await using site = await Site.create();
    for (let start = 0; start < 2; start++) {
      const server = await site.start(["--audit", "audit.log"]);
      await site.call(["list"]);
      server.process.kill("SIGTERM");
      await server.ended();
    }
    const records = await recordsIn(join(site.path, "audit.log"));
    expect(records.filter(({ event }) => event === "sync")).toHaveLength(2);
  });
});

describe("an audit log of a server that stops", () => {
  test("has the end of every connection, even of a client that does not answer, and nothing is written after", async () => {
    await using site = await Site.create();
    const server = await site.start(["--audit", "audit.log"]);
    using prompt = await dial(site.port, site.certs);
    await request(prompt, "sys:ping", {});
    using mute = await dial(site.port, site.certs);
    await request(mute, "sys:ping", {});
    mute.pause();
    server.process.kill("SIGTERM");
    expect(await server.ended()).toBe(0);
    const events = (await recordsIn(join(site.path, "audit.log"))).map(({ event }) => event);
    expect(events.filter((event) => event === "connected")).toHaveLength(2);
    expect(events.filter((event) => event === "disconnected")).toHaveLength(2);
    expect(server.stderr.filter((line) => /EBADF|Cannot write/.test(line))).toEqual([]);
    expect(server.stderr.at(-1)).toContain("Stopped.");
  });
});

describe("an audit log that cannot be written", () => {
  test.each([["/nowhere/audit.log"], ["."]])("at the start is a configuration error: %s", async (path) => {
    await using site = await Site.create();
    const { exitCode, stderr } = await site.manage(["--port", "0", "--audit", path]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("Cannot write the audit log");
  });

  test("needs a file to be required", async () => {
    await using site = await Site.create();
    expect((await site.manage(["--port", "0", "--audit-required"])).exitCode).toBe(2);
  });

  const hasFull = process.platform === "linux";
  test.skipIf(!hasFull)("but is required: nothing runs, and the client is told why", async () => {
    await using site = await Site.create({ "count.ts": count });
    const server = await site.start(["--audit", "/dev/full", "--audit-required"]);
    const refused = await site.call(["exec", "count"]);
    expect(refused).toMatchObject({ exitCode: 1, stdout: "" });
    expect(refused.stderr).toContain("must audit every call but cannot write its audit log: ENOSPC");
    // What runs nothing is still answered.
    expect((await site.call(["list"])).exitCode).toBe(0);
    expect(await server.line("Cannot write the audit log /dev/full")).toContain('"level":"fatal"');
  });

  /** A file system of 64 KiB, where this user may make one. */
  async function smallDisk(site: Site): Promise<({ path: string } & AsyncDisposable) | undefined> {
    const path = join(site.path, "disk");
    await mkdir(path);
    const { exitCode } = await run(["mount", "-t", "tmpfs", "-o", "size=64k", "veripy-test", path]);
    if (exitCode !== 0) return undefined;
    return {
      path,
      async [Symbol.asyncDispose]() {
        await run(["umount", "-l", path]);
      },
    };
  }
  const mayMount = process.platform === "linux" && process.getuid?.() === 0;

  function fill(disk: string): void {
    const ballast = openSync(join(disk, "ballast"), "w");
    try {
      for (;;) writeSync(ballast, new Uint8Array(1024));
    } catch {
      // Full, as it should be.
    } finally {
      closeSync(ballast);
    }
  }

  /** Runs the module until the disk has no room for the record any more. */
  async function until(what: string, site: Site, server: Running, pattern: string): Promise<void> {
    await eventually(what, async () => {
      await site.call(["exec", "count"]);
      return server.stderr.some((line) => line.includes(pattern));
    });
  }

  test.skipIf(!mayMount)(
    "since the disk is full, and is required: nothing runs that is not written down",
    async () => {
      await using site = await Site.create({ "count.ts": count });
      await using disk = await smallDisk(site);
      if (disk === undefined) return;
      const path = join(disk.path, "audit.log");
      const server = await site.start(["--audit", path, "--audit-required"]);
      expect((await site.call(["exec", "count"])).stdout).toBe("1\n");
      fill(disk.path);
      await until("the disk to be full", site, server, "Cannot write the audit log");
      const refused = await site.call(["exec", "count"]);
      expect(refused).toMatchObject({ exitCode: 1, stdout: "" });

      await rm(join(disk.path, "ballast"));
      const { stdout } = await site.call(["exec", "count"]);
      await server.line("The audit log can be written again");
      const records = await recordsIn(path);
      const ran = records.filter(({ event, code }) => event === "exec" && code === "ok");
      const began = records.filter(({ event }) => event === "exec_begin");
      expect(Number(stdout)).toBe(ran.length);
      expect(began.length).toBeGreaterThan(ran.length);
      expect(records.filter(({ event, code }) => event === "exec" && code === "busy").length).toBe(
        began.length - ran.length,
      );
    },
  );

  test.skipIf(!mayMount)(
    "since the disk is full, and is not: calls go on, records wait, and none is torn",
    async () => {
      await using site = await Site.create({ "count.ts": count });
      await using disk = await smallDisk(site);
      if (disk === undefined) return;
      const path = join(disk.path, "audit.log");
      const server = await site.start(["--audit", path]);
      fill(disk.path);
      await until("the disk to be full", site, server, "Cannot write the audit log");
      const during = Number((await site.call(["exec", "count"])).stdout);
      expect(during).toBeGreaterThan(0);
      await rm(join(disk.path, "ballast"));
      expect((await site.call(["exec", "count"])).stdout).toBe(`${during + 1}\n`);
      await server.line("The audit log can be written again");
      const ran = (await recordsIn(path)).filter(({ event }) => event === "exec");
      expect(ran).toHaveLength(during + 1);
    },
  );
});
