import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { sign, X509Certificate } from "node:crypto";
import { copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Fingerprint } from "../../src/identity/fingerprint.ts";
import { type Identity, loadIdentity } from "../../src/identity/identity.ts";
import { prepareNextIdentity } from "../../src/identity/next-identity.ts";
import { signRotation } from "../../src/identity/rotation-statement.ts";
import { dial, request } from "../helpers/frames.ts";
import { clientOf, newIdentity, trustEntries, trustText } from "../helpers/keys.ts";
import { LineClient } from "../helpers/line-client.ts";
import { Running } from "../helpers/processes.ts";
import { ScriptedServer } from "../helpers/scripted-server.ts";
import { Site } from "../helpers/site.ts";
import { python, pythonFixture } from "../helpers/tools.ts";
import { eventually, within } from "../helpers/within.ts";

setDefaultTimeout(20_000);

const next = await newIdentity();

/** A trusted client in a folder of its own. */
async function trustedClient(site: Site, name: string): Promise<{ certs: string; fingerprint: string }> {
  const client = await site.newClient(name);
  await site.manage(["trust", client.fingerprint, "--name", name]);
  await eventually("the client to be let in", async () => (await list(site, client.certs)) === 0);
  return client;
}

const list = async (site: Site, certs: string) => (await site.call(["--certs", certs, "list"])).exitCode;
const trustFile = (site: Site) => readFile(join(site.path, "trusted-keys.json"), "utf8");
const keyIn = async (certs: string, generation: "" | ".next" | ".old" = "") =>
  (await loadIdentity(certs, "client", generation)).fingerprint;

function knownServers(site: Site, certs: string): Promise<unknown> {
  return readFile(join(certs, "known-servers.json"), "utf8").then(
    (text) => (JSON.parse(text) as Record<string, unknown>)[`localhost:${site.port}`],
  );
}

/** Connects with the key that a rotation has put aside. */
async function dialOld(site: Site, certs: string): Promise<LineClient> {
  const folder = join(certs, "old");
  await mkdir(folder, { recursive: true });
  await copyFile(join(certs, "client.key.old"), join(folder, "client.key"));
  await copyFile(join(certs, "client.crt.old"), join(folder, "client.crt"));
  return dial(site.port, folder);
}

describe("a client that rotates its key", () => {
  let site: Site;
  let server: Running;

  beforeAll(async () => {
    site = await Site.create();
    // Some of these tests announce more often than a person would.
    server = await site.start(["--rotation-rate", "1000"]);
  });
  afterAll(() => site[Symbol.asyncDispose]());

  const rotate = (certs: string, ...flags: string[]) =>
    site.call(["rotate", "--certs", certs, "--host", "localhost", "--json", ...flags]);

  test("is known by its new key, with its name, and the old key is refused", async () => {
    const { certs, fingerprint } = await trustedClient(site, "alice");
    const rotated = await rotate(certs);
    expect(rotated).toMatchObject({ exitCode: 0, stderr: "" });
    const now = await keyIn(certs);
    expect(JSON.parse(rotated.stdout)).toEqual({
      old: fingerprint,
      new: now,
      done: true,
      servers: [{ server: `localhost:${site.port}`, state: "confirmed" }],
      left_out: [],
    });
    expect(now).not.toBe(fingerprint as Fingerprint);
    expect(await list(site, certs)).toBe(0);
    await eventually("the old key to be gone", async () => !(await trustFile(site)).includes(fingerprint));
    expect(await trustFile(site)).toContain(JSON.stringify({ fingerprint: now, name: "alice" }));
    using old = await dialOld(site, certs);
    old.send("mod:sync:1 {}\n");
    await within(2_000, "the end", old.closed);
    expect(old.lines).toEqual([]);
    await server.line("alice has switched to the key");
  });

  test("keeps its permissions, and nobody else's connection or entry is touched", async () => {
    const { certs, fingerprint } = await site.newClient("narrow");
    const entry = { fingerprint, name: "narrow", modules: ["none.ts"] };
    const trusted = trustEntries(await trustFile(site));
    await writeFile(join(site.path, "trusted-keys.json"), trustText(...trusted, entry));
    await eventually("the client to be let in", async () => (await list(site, certs)) === 0);
    using other = await dial(site.port, site.certs);
    await request(other, "mod:sync", {});
    expect((await rotate(certs)).exitCode).toBe(0);
    const refused = await site.call(["--certs", certs, "exec", "hello.ts"]);
    expect(refused.exitCode).not.toBe(0);
    expect((await request(other, "mod:sync", {}, "2")).header).toBe("mod:sync_resp");
    expect(trustEntries(await trustFile(site)).slice(0, -1)).toEqual(trusted);
  });

  test("tells all servers that it knows, and changes nothing until all of them accept the new key", async () => {
    await using second = await Site.create();
    const { certs, fingerprint } = await trustedClient(site, "both");
    await second.start();
    const pins = {
      [`localhost:${site.port}`]: (await site.manage(["fingerprint"])).stdout.trim(),
      [`localhost:${second.port}`]: (await second.manage(["fingerprint"])).stdout.trim(),
    };
    await rm(join(certs, "server.crt"));
    await writeFile(join(certs, "known-servers.json"), JSON.stringify(pins));

    const failed = await rotateAll(site, certs);
    expect(failed.exitCode).toBe(3);
    expect(JSON.parse(failed.stdout)).toMatchObject({
      done: false,
      servers: [
        { server: `localhost:${site.port}`, state: "announced" },
        { server: `localhost:${second.port}`, state: "failed", code: "untrusted" },
      ],
    });
    expect(await keyIn(certs)).toBe(fingerprint as Fingerprint);
    expect(await list(site, certs)).toBe(0);

    // By hand, the new key is as good as announced; and the next attempt goes on with the same one.
    const planned = await keyIn(certs, ".next");
    await second.manage(["trust", planned]);
    await eventually(
      "the second server to accept it",
      async () => (await rotateAll(site, certs)).exitCode === 0,
    );
    expect(await keyIn(certs)).toBe(planned);
    expect([await list(site, certs), await list(second, certs)]).toEqual([0, 0]);
  });

  /** Without --port, which the site's `call` adds. */
  async function rotateAll(from: Site, certs: string) {
    const rotating = new Running([from.client, "rotate", "--certs", certs, "--json"], { cwd: from.path });
    const exitCode = await rotating.ended();
    await eventually("its output", () => rotating.stdout.length > 0 || exitCode === 2);
    return { exitCode, stdout: rotating.stdout.join("\n"), stderr: rotating.stderr.join("\n") };
  }

  test("with no server to tell says how to name one", async () => {
    const { certs } = await site.newClient("lonely");
    const { exitCode, stdout } = await rotateAll(site, certs);
    expect([exitCode, stdout]).toEqual([2, expect.stringContaining("--host and --port")]);
  });

  test("and is killed at any moment can connect with the key on its disk, and run the rotation again", async () => {
    const { certs } = await trustedClient(site, "killed");
    for (let round = 0; round < 8; round++) {
      const rotating = new Running(
        [site.client, "--port", `${site.port}`, "rotate", "--certs", certs, "--host", "localhost"],
        { cwd: site.path },
      );
      await Promise.race([Bun.sleep(35 + round * 12), rotating.process.exited]);
      await rotating[Symbol.asyncDispose]();
      expect(await list(site, certs)).toBe(0);
    }
    expect((await rotate(certs)).exitCode).toBe(0);
    expect(await list(site, certs)).toBe(0);
  });

  test("completes a swap that was interrupted between key and certificate", async () => {
    const { certs } = await trustedClient(site, "half");
    const { current, next: prepared } = await prepareNextIdentity(certs, "client");
    using old = await dial(site.port, certs);
    const statement = signRotation(current.keyPem, prepared.keyPem);
    expect((await request(old, "sys:rotate", statement)).payload).toEqual({ next: prepared.fingerprint });
    await rename(join(certs, "client.key.next"), join(certs, "client.key"));
    expect(await list(site, certs)).toBe(0);
    const resumed = await rotate(certs);
    expect(JSON.parse(resumed.stdout)).toMatchObject({ new: prepared.fingerprint, done: true });
    expect(await list(site, certs)).toBe(0);
    expect((await readdir(certs)).filter((name) => name.endsWith(".next"))).toEqual([]);
  });

  test("disconnects its own connections with the old key, which reconnect with the new one", async () => {
    const { certs } = await trustedClient(site, "steady");
    const watching = site.watch(["--json", "--certs", certs]);
    await watching.line('"verified":true');
    expect((await rotate(certs)).exitCode).toBe(0);
    await watching.line('"event":"disconnected"');
    await watching.line('"event":"reconnected"');
  });

  describe("on the wire", () => {
    let certs: string;
    let client: LineClient;
    let keyPem: string;

    beforeAll(async () => {
      ({ certs } = await trustedClient(site, "wire"));
      client = await dial(site.port, certs);
      ({ keyPem } = await loadIdentity(certs, "client"));
    });
    afterAll(() => client.terminate());

    /** What this client can say of a key whose private half it does not have. */
    function announcementOf({ certificatePem, fingerprint }: Identity): object {
      const { old, issued, key } = signRotation(keyPem, next.keyPem);
      const text = `${old}\n${fingerprint}\n${issued}\n`;
      const [signature, next_signature] = ["VeriPy key rotation 1", "VeriPy next key 1"].map((domain) =>
        sign(null, Buffer.from(`${domain}\n${text}`), keyPem).toString("base64"),
      );
      const next_key = new X509Certificate(certificatePem).publicKey
        .export({ type: "spki", format: "der" })
        .toString("base64");
      return { old, new: fingerprint, issued, key, signature, next_key, next_signature };
    }

    const day = 86_400_000;
    test.each([
      [
        "signed by another key",
        async () => signRotation((await newIdentity()).keyPem, next.keyPem),
        "forbidden",
      ],
      [
        "signed by another key in this one's name",
        async () => ({ ...signRotation((await newIdentity()).keyPem, next.keyPem), old: await keyIn(certs) }),
        "forbidden",
      ],
      [
        "for a changed new key",
        async () => ({ ...signRotation(keyPem, next.keyPem), new: "cd".repeat(32) }),
        "forbidden",
      ],
      ["too old", async () => signRotation(keyPem, next.keyPem, new Date(Date.now() - 2 * day)), "forbidden"],
      ["of tomorrow", async () => signRotation(keyPem, next.keyPem, new Date(Date.now() + day)), "forbidden"],
      ["to its own key", async () => signRotation(keyPem, keyPem), "forbidden"],
      [
        "to a key that is trusted already",
        async () => signRotation(keyPem, (await clientOf(site)).keyPem),
        "forbidden",
      ],
      [
        "that the next key has not signed",
        async () => ({
          ...signRotation(keyPem, next.keyPem),
          next_key: undefined,
          next_signature: undefined,
        }),
        "bad_request",
      ],
      [
        "of a public key that is somebody else's",
        async () => announcementOf(await newIdentity()),
        "forbidden",
      ],
      ["that is garbage", async () => ({ old: 1 }), "bad_request"],
      ["that is empty", async () => ({}), "bad_request"],
    ])("an announcement %s is refused, and nothing is written", async (_, statement, code) => {
      const before = await trustFile(site);
      const { header, payload } = await request(client, "sys:rotate", await statement(), "no");
      expect([header, payload.code]).toEqual(["sys:rotate_resp", code]);
      expect(await trustFile(site)).toBe(before);
      client.lines.length = 0;
    });

    test("of two announcements at once on one connection, one is refused as busy; other requests go on", async () => {
      const statement = JSON.stringify(signRotation(keyPem, next.keyPem));
      client.send(`sys:rotate:a ${statement}\nsys:rotate:b ${statement}\nsys:ping:c {}\n`);
      expect(await client.line("sys:rotate_resp:b")).toContain('"code":"busy"');
      expect(await client.line("sys:rotate_resp:a")).toContain(next.fingerprint);
      await client.line("sys:pong:c");
    });

    test("a replay after the change is confirmed comes from a key that is no longer trusted", async () => {
      const replayed = signRotation(keyPem, next.keyPem);
      const accepted = await rotate(certs);
      expect(accepted.exitCode).toBe(0);
      await within(2_000, "the old key's connection to end", client.closed);
      using now = await dial(site.port, certs);
      const { payload } = await request(now, "sys:rotate", replayed);
      expect(payload.code).toBe("forbidden");
      expect(await trustFile(site)).not.toContain(next.fingerprint);
    });
  });

  test.skipIf(python === undefined)(
    "learns that a server of the plain protocol cannot, which is sent nothing new",
    async () => {
      const certs = join(site.path, "plain");
      await mkdir(certs);
      for (const name of ["client.key", "client.crt", "server.crt"]) {
        await copyFile(join(site.certs, name), join(certs, name));
      }
      await using plain = new Running(pythonFixture("plain_server.py", site.certs, join(site.path, "mods")));
      const { port } = JSON.parse(await plain.line('"port"')) as { port: number };
      const refused = await site.call(["--port", `${port}`, "--certs", certs, "--json", "rotate"]);
      expect([refused.exitCode, JSON.parse(refused.stdout)]).toMatchObject([
        3,
        { done: false, servers: [{ state: "failed", code: "unsupported" }] },
      ]);
      expect(plain.stdout.join("\n")).toContain("mod:sync");
      expect(plain.stdout.join("\n")).not.toContain("rotate");
      expect(await keyIn(certs)).toBe(await keyIn(site.certs));
    },
  );
});

describe("a client that announces one key after another", () => {
  const perMinute = 10;
  /** As long as this takes, one more may be allowed in every six seconds. */
  const allowed = (since: number) => perMinute + Math.ceil((performance.now() - since) / 6_000);

  test("is limited to ten per minute over all its connections, valid or not, and the log is not flooded", async () => {
    await using site = await Site.create();
    const server = await site.start();
    const { certs } = await trustedClient(site, "restless");
    const { keyPem } = await loadIdentity(certs, "client");
    const statements = [await newIdentity(), await newIdentity()].map((following) =>
      signRotation(keyPem, following.keyPem),
    );
    const since = performance.now();
    const connections = await Promise.all([1, 2, 3, 4].map(() => dial(site.port, certs)));
    const codes: string[] = [];
    for (let round = 0; round < 100; round++) {
      const answers = await Promise.all(
        connections.map((connection, index) => {
          // Each change is another than the one before, so that each would be written.
          const statement = index === 3 ? { old: 1 } : statements[round % 2];
          return request(connection, "sys:rotate", statement ?? {}, `r${round}`);
        }),
      );
      codes.push(...answers.map(({ payload }) => String(payload.code ?? "ok")));
    }
    expect(codes.filter((code) => code !== "busy").length).toBeLessThanOrEqual(allowed(since));
    expect(codes).toContain("ok");
    expect(codes).toContain("bad_request");
    const lines = server.stderr.filter((line) => /is rotating its key|cannot rotate its key/.test(line));
    expect(lines.length).toBeLessThanOrEqual(2 * allowed(since));
    expect(lines.filter((line) => line.includes("may announce 10 keys per minute")).length).toBeGreaterThan(
      0,
    );
    // Others may still change theirs.
    const other = await trustedClient(site, "other");
    expect((await site.call(["rotate", "--certs", other.certs, "--host", "localhost"])).exitCode).toBe(0);
    for (const connection of connections) connection.terminate();
  });

  test("gains nothing by switching to each of them", async () => {
    await using site = await Site.create();
    await site.start();
    const { certs } = await trustedClient(site, "hopping");
    const since = performance.now();
    let current = await loadIdentity(certs, "client");
    let changes = 0;
    for (;;) {
      const following = await newIdentity();
      using connection = await LineClient.connect({ port: site.port, identity: current });
      const { payload } = await request(
        connection,
        "sys:rotate",
        signRotation(current.keyPem, following.keyPem),
      );
      if (payload.code !== undefined) {
        expect(payload.code).toBe("busy");
        break;
      }
      changes += 1;
      current = following;
      expect(changes).toBeLessThanOrEqual(allowed(since));
    }
    expect(changes).toBeGreaterThanOrEqual(perMinute);
  });
});

describe("a server that rotates its key", () => {
  let site: Site;
  let server: Running;
  let old: string;

  beforeAll(async () => {
    site = await Site.create();
    server = await site.start();
    old = (await site.manage(["fingerprint"])).stdout.trim();
  });
  afterAll(() => site[Symbol.asyncDispose]());

  test("cannot finish what it has not begun", async () => {
    const { exitCode, stdout } = await site.manage(["rotate", "--finish", "--json"]);
    expect([exitCode, JSON.parse(stdout)]).toMatchObject([2, { code: "bad_config" }]);
    expect(stdout).toContain("Run 'veripy-server rotate' to begin one");
  });

  test("is followed by connected clients, by clients that connect later, and by those that connect after the switch", async () => {
    const [live, later, shared] = [
      await trustedClient(site, "live"),
      await trustedClient(site, "later"),
      site.certs,
    ];
    const watching = site.watch(["--json", "--certs", live.certs]);
    await watching.line('"verified":true');
    using plain = await dial(site.port, site.certs);
    await request(plain, "mod:sync", {});

    const begun = await site.manage(["rotate", "--json"]);
    const { new: following } = JSON.parse(begun.stdout) as { new: string };
    expect(JSON.parse(begun.stdout)).toEqual({ old, new: following });
    expect(JSON.parse(await watching.line('"event":"rotate"', 2_000))).toMatchObject({
      fingerprint: following,
    });
    await plain.line("sys:rotate:s");
    await eventually(
      "both pins",
      async () => `${await knownServers(site, live.certs)}` === `${old},${following}`,
    );

    const again = await site.manage(["rotate", "--json"]);
    expect([again.exitCode, again.stdout.includes("already in progress")]).toEqual([2, true]);

    // One request is enough to be told.
    const told = await site.call(["--certs", later.certs, "list"]);
    expect(told.exitCode).toBe(0);
    expect(told.stderr).toContain(following);
    expect(await knownServers(site, later.certs)).toEqual([old, following]);
    await server.line("Told later about the next server key");

    const finished = await site.manage(["rotate", "--finish", "--json"]);
    expect(JSON.parse(finished.stdout)).toEqual({ fingerprint: following });
    await server.line(`This server's key is now ${following}`, 2_000);

    // Nobody was cut off, and everybody who was told comes in.
    expect((await request(plain, "mod:sync", {}, "2")).header).toBe("mod:sync_resp");
    expect(watching.stdout.join("\n")).not.toContain("disconnected");
    expect([await list(site, later.certs), await list(site, shared)]).toEqual([0, 0]);
    await eventually(
      "the old pin to be dropped",
      async () => (await knownServers(site, later.certs)) === following,
    );
    expect((await site.manage(["rotate", "--finish"])).exitCode).toBe(2);
  });

  test("is refused by clients that were not told, until they are", async () => {
    const away = await trustedClient(site, "away");
    await site.manage(["rotate"]);
    const { stdout: finished } = await site.manage(["rotate", "--finish", "--json"]);
    const { fingerprint: following } = JSON.parse(finished) as { fingerprint: string };
    await server.line(`This server's key is now ${following}`, 2_000);
    const refused = await site.call(["--certs", away.certs, "list"]);
    expect(refused.stderr).toContain("not the expected one");
    await rm(join(away.certs, "server.crt"));
    const flags = ["--certs", away.certs, "--server-fingerprint", following];
    expect((await site.call([...flags, "list"])).exitCode).toBe(0);
  });

  test("also renews its certificate without a restart, and no client has to be told", async () => {
    const { stdout: before } = await site.manage(["fingerprint"]);
    expect((await site.manage(["renew"])).exitCode).toBe(0);
    await server.line("The certificate was renewed");
    expect((await site.manage(["fingerprint"])).stdout).toBe(before);
    expect(await list(site, site.certs)).toBe(0);
  });

  test("keeps its current key when the files cannot be used, and says so once", async () => {
    const path = join(site.certs, "server.crt");
    const good = await readFile(path, "utf8");
    await writeFile(path, "garbage");
    await server.line("Kept the current key");
    await writeFile(path, good);
    expect(await list(site, site.certs)).toBe(0);
    expect(server.stderr.filter((line) => line.includes("Kept the current key")).length).toBe(1);
  });

  test("that was stopped halfway through the switch completes it at its next start", async () => {
    await using other = await Site.create();
    await other.manage(["rotate"]);
    const { fingerprint } = await loadIdentity(other.certs, "server", ".next");
    await rename(join(other.certs, "server.key.next"), join(other.certs, "server.key"));
    await other.start();
    expect((await other.manage(["fingerprint"])).stdout.trim()).toBe(fingerprint);
    expect((await other.manage(["rotate", "--finish"])).exitCode).toBe(0);
    expect((await loadIdentity(other.certs, "server")).fingerprint).toBe(fingerprint);
  });
});

describe("a server that announces a key", () => {
  let site: Site;
  let scripted: ScriptedServer;

  beforeAll(async () => {
    site = await Site.create();
    scripted = await ScriptedServer.start(site.certs, { "a.ts": { content: "export const a = 1" } });
  });
  afterAll(async () => {
    scripted[Symbol.dispose]();
    await site[Symbol.asyncDispose]();
  });

  const day = 86_400_000;
  test.each([
    ["not signed by its own", async () => signRotation((await newIdentity()).keyPem, next.keyPem)],
    [
      "in its own name, signed by another",
      async () => ({
        ...signRotation((await newIdentity()).keyPem, next.keyPem),
        old: (await loadIdentity(site.certs, "server")).fingerprint,
      }),
    ],
    ["too late", async () => statement(new Date(Date.now() - 2 * day))],
    [
      "that the next key has not signed",
      async () => ({ ...(await statement()), next_signature: (await statement()).signature }),
    ],
    [
      "without the next key's signature",
      async () => ({ ...(await statement()), next_key: undefined, next_signature: undefined }),
    ],
    ["with a changed new key", async () => ({ ...(await statement()), new: "cd".repeat(32) })],
    ["as garbage", async () => ["garbage"]],
  ])("%s is ignored with a warning, and its modules can still be used", async (_, make) => {
    const { certs } = await site.newClient(`victim-${Math.random()}`);
    const rotation = await make();
    scripted.lies.sync = (_modules, answer) => {
      answer.rotation = rotation;
    };
    const { exitCode, stdout, stderr } = await site.call([
      "--port",
      `${scripted.port}`,
      "--certs",
      certs,
      "list",
    ]);
    expect(exitCode).toBe(0);
    expect(stdout).toContain("a.ts");
    expect(stderr).toContain("key rotation");
    expect(await readdir(certs)).not.toContain("known-servers.json");
    expect(await readdir(certs)).toContain("server.crt");
  });

  test("signed by its own is believed, in a broadcast as in the answer to a sync", async () => {
    const { certs } = await site.newClient("believer");
    scripted.lies = {};
    const watching = site.watch(["--port", `${scripted.port}`, "--json", "--certs", certs]);
    await watching.line('"verified":true');
    scripted.broadcast("sys:rotate", { ...(await statement()), signature: "AAAA" });
    await watching.line('"event":"rotate_refused"');
    scripted.broadcast("sys:rotate", await statement());
    await watching.line('"event":"rotate"');
    const kept = await readFile(join(certs, "known-servers.json"), "utf8");
    expect(kept).toContain(next.fingerprint);
  });

  async function statement(issued = new Date()) {
    return signRotation((await loadIdentity(site.certs, "server")).keyPem, next.keyPem, issued);
  }
});

test.skipIf(python === undefined)(
  "a client of the plain protocol, in Python, notices nothing of it",
  async () => {
    await using site = await Site.create();
    const server = await site.start();
    await using watching = new Running(
      pythonFixture("plain_client.py", `${site.port}`, site.certs, "--stay"),
    );
    await watching.line('"ready"');
    await site.manage(["rotate"]);
    await server.line(`Told ${(await clientOf(site)).fingerprint} about the next server key`);
    await site.write("later.ts", "export const execute = async () => 'later';");
    await watching.line(/"verdict".*"later.ts".*"verified": true/);
  },
);
