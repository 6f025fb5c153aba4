import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, statSync } from "node:fs";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { clientOf } from "../helpers/keys.ts";
import { Running, run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";
import { jsonLines } from "../helpers/tools.ts";
import { eventually, within } from "../helpers/within.ts";

setDefaultTimeout(20_000);

const socketOf = (site: Site) => join(site.certs, "control.sock");

/** The records of `keys --json`. */
async function keys(site: Site, kind: string): Promise<Record<string, unknown>[]> {
  const { stdout, stderr, exitCode } = await site.manage(["keys", "--json"]);
  if (exitCode !== 0) throw new Error(stderr);
  return jsonLines(stdout).filter((record) => record.kind === kind);
}

async function trusted(site: Site, name: string): Promise<{ certs: string; fingerprint: string }> {
  const client = await site.newClient(name);
  const { exitCode, stderr } = await site.manage(["trust", client.fingerprint, "--name", name]);
  if (exitCode !== 0) throw new Error(stderr);
  return client;
}

describe("veripy-server keys", () => {
  test("lists what each key may do, the open invitations, and that no server is running", async () => {
    await using site = await Site.create();
    const { fingerprint } = await clientOf(site);
    const [old, narrow] = ["a1".repeat(32), "b2".repeat(32)];
    await site.manage(["trust", old, "--name", "old", "--expires", "2020-01-31"]);
    const flags = [
      "--modules",
      "a.ts,b-*.ts",
      "--modules",
      "c.ts",
      "--actions",
      "sync",
      "--from",
      "10.0.0.0/8",
    ];
    await site.manage(["trust", narrow, "--name", "日本", ...flags, "--max-connections", "3"]);
    await site.manage(["invite", "--name", "newcomer", "--modules", "a.ts", "--key-expires", "2100-01-31"]);

    expect(await keys(site, "key")).toEqual([
      { kind: "key", fingerprint, expired: false },
      { kind: "key", fingerprint: old, name: "old", expires: "2020-01-31T00:00:00.000Z", expired: true },
      {
        kind: "key",
        fingerprint: narrow,
        name: "日本",
        modules: ["a.ts", "b-*.ts", "c.ts"],
        actions: ["sync"],
        from: ["10.0.0.0/8"],
        max_connections: 3,
        expired: false,
      },
    ]);
    const [invitation] = await keys(site, "invitation");
    expect(invitation).toMatchObject({ name: "newcomer", attempts: 0, modules: ["a.ts"] });
    expect(invitation?.key_expires).toBe("2100-01-31");
    expect(invitation?.id).toMatch(/^[0-9A-Z]{4}$/);
    expect(await keys(site, "server")).toEqual([{ kind: "server", running: false }]);

    const { stdout } = await site.manage(["keys"]);
    expect(stdout).toContain(`  old   ${old.slice(0, 16)}  expires 2020-01-31T00:00:00.000Z  EXPIRED\n`);
    expect(stdout).toContain(
      `  日本  ${narrow.slice(0, 16)}  modules a.ts,b-*.ts,c.ts; actions sync; from 10.0.0.0/8`,
    );
    expect(stdout).toContain(`  ${invitation?.id}  newcomer  until `);
    expect(stdout).toContain("No server with the keys in ./certs is running");
    expect(stdout).not.toContain(narrow);
  });

  test("says who is connected, from where and since when", async () => {
    await using site = await Site.create();
    await site.start();
    const alice = await trusted(site, "alice");
    const watching = site.watch(["--json", "--certs", alice.certs]);
    await watching.line('"verified":true');
    const [connection, ...others] = await keys(site, "connection");
    expect(others).toEqual([]);
    expect(connection).toMatchObject({ fingerprint: alice.fingerprint, name: "alice", calls: 0 });
    expect(connection?.address).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(Math.abs(Date.now() - Date.parse(String(connection?.since)))).toBeLessThan(15_000);
    expect((await site.manage(["keys"])).stdout).toMatch(/\nConnected \(1\):\n {2}alice {2}\w{16} {2}127/);
  });
});

describe("veripy-server disconnect", () => {
  test.each([
    ["name", () => "alice"],
    ["fingerprint", (fingerprint: string) => fingerprint.toUpperCase()],
  ])(
    "closes all connections of a %s, says that it may come back, and leaves others alone",
    async (_, whoOf) => {
      await using site = await Site.create();
      const server = await site.start();
      const alice = await trusted(site, "alice");
      const watching = [0, 1].map(() => site.watch(["--json", "--certs", alice.certs]));
      const other = site.watch(["--json"]);
      for (const client of [...watching, other]) await client.line('"verified":true');

      const who = whoOf(alice.fingerprint);
      const done = await site.manage(["disconnect", who]);
      expect(done).toMatchObject({ exitCode: 0, stderr: "" });
      expect(done.stdout).toStartWith("Disconnected alice: 2 connections.\nThe key is still trusted, so");
      expect(done.stdout).toEndWith(`veripy-server untrust ${alice.fingerprint}\n`);
      for (const client of watching) {
        const line = await client.line('"event":"disconnected"');
        expect(line).toContain("operator disconnected this client");
        await client.line('"event":"reconnected"');
      }
      expect(other.stdout.join("\n")).not.toContain("disconnected");
      await server.line(/Disconnecting alice.*connections: 2/);

      const json = await site.manage(["disconnect", who, "--json"]);
      expect(JSON.parse(json.stdout)).toEqual({ fingerprint: alice.fingerprint, name: "alice", closed: 2 });
    },
  );

  test("of an unknown or disconnected client fails and says who is connected", async () => {
    await using site = await Site.create();
    await site.start();
    const alice = await trusted(site, "alice");
    await site.manage(["trust", "b0".repeat(32), "--name", "bob"]);
    const watching = site.watch(["--json", "--certs", alice.certs]);
    await watching.line('"verified":true');
    for (const [who, why] of [
      ["alcie", "Did you mean 'alice'?"],
      ["bob", "it is not connected. Connected are: alice."],
    ] as const) {
      const refused = await site.manage(["disconnect", who]);
      expect([refused.exitCode, refused.stdout]).toEqual([2, ""]);
      expect(refused.stderr).toContain(why);
      const json = await site.manage(["disconnect", who, "--json"]);
      expect([json.exitCode, JSON.parse(json.stdout)]).toMatchObject([2, { code: "bad_config" }]);
    }
    expect(watching.stdout.join("\n")).not.toContain("disconnected");
  });

  test("without a server fails and says so", async () => {
    await using site = await Site.create();
    const refused = await site.manage(["disconnect", "alice"]);
    expect([refused.exitCode, refused.stdout]).toEqual([2, ""]);
    expect(refused.stderr).toContain("no server is running with the keys in ./certs");
  });
});

describe.skipIf(process.platform === "win32")("the control socket", () => {
  test("belongs to its owner alone, whatever the umask, and is removed when the server stops", async () => {
    await using site = await Site.create();
    const start = `umask 000; exec ${site.server} --port 0`;
    await using server = new Running(["sh", "-c", start], { cwd: site.path });
    await server.line("Listening on");
    await eventually("the socket", () => existsSync(socketOf(site)));
    expect(statSync(socketOf(site)).mode & 0o777).toBe(0o600);
    server.process.kill("SIGTERM");
    expect(await server.ended()).toBe(0);
    expect((await readdir(site.certs)).filter((name) => name.startsWith("control"))).toEqual([]);
  });

  test("of a killed server counts as no server, and is replaced by the next one", async () => {
    await using site = await Site.create();
    const killed = await site.start();
    expect(await keys(site, "server")).toEqual([{ kind: "server", running: true }]);
    killed.process.kill("SIGKILL");
    await killed.ended();
    expect(existsSync(socketOf(site))).toBe(true);
    expect(await keys(site, "server")).toEqual([{ kind: "server", running: false }]);
    await site.start();
    expect(await keys(site, "server")).toEqual([{ kind: "server", running: true }]);
  });

  test("of a running server is not taken over by a second one with the same folder", async () => {
    await using site = await Site.create();
    const first = await site.start();
    await using second = new Running([site.server, "--port", "0"], { cwd: site.path });
    await second.line("another server is running with this folder");
    await second.line("Listening on");
    second.process.kill("SIGTERM");
    expect(await second.ended()).toBe(0);
    expect(await keys(site, "server")).toEqual([{ kind: "server", running: true }]);
    expect(first.process.killed).toBe(false);
  });

  test("is not opened where its path is too long or taken by a file, and the server runs without it", async () => {
    await using site = await Site.create();
    await using elsewhere = await temporaryDirectory();
    const long = join(elsewhere.path, "x".repeat(120));
    await mkdir(long);
    await using started = new Running([site.server, "--port", "0", "--certs", long], { cwd: site.path });
    await started.line(/Cannot open .*control\.sock.*the path is longer than \d+ bytes/);
    await started.line("Listening on");

    await writeFile(socketOf(site), "mine");
    const server = await site.start();
    await server.line("the file there is not a socket");
    expect((await site.call(["exec", "hello"])).stdout).toBe("Hello, World!\n");
    expect(await Bun.file(socketOf(site)).text()).toBe("mine");
  });

  test("accepts no long line, no unknown request, and no more than sixteen connections", async () => {
    await using site = await Site.create();
    const server = await site.start();
    const talk = async (line: string) => {
      let received = "";
      const { promise, resolve } = Promise.withResolvers<string>();
      const socket = await Bun.connect({
        unix: socketOf(site),
        socket: {
          data: (_, chunk) => {
            received += chunk.toString();
            resolve(received);
          },
          close: () => resolve(received),
        },
      });
      socket.write(line);
      return { socket, answer: within(5_000, "an answer", promise) };
    };
    for (const [line, answer] of [
      ["control:fly:1 {}\n", /^control:fly_resp:1 .*knows no request 'fly'/],
      ['control:disconnect:1 {"who":7}\n', /^control:disconnect_resp:1 .*"bad_request"/],
      ["no frame\n", /^sys:error:- /],
      [`control:disconnect:1 {"who":"${"x".repeat(5_000)}`, /^sys:error:- .*"too_large"/],
    ] as const) {
      const asked = await talk(line);
      expect(await asked.answer).toMatch(answer);
      asked.socket.terminate();
    }
    await eventually("room", async () => (await keys(site, "server"))[0]?.running === true);
    const idle = await Promise.all(Array.from({ length: 16 }, () => talk("")));
    // It may be closed before it is seen to be open.
    const refused = talk("control:connections:1 {}\n").then(({ answer }) => answer);
    expect(await refused.catch(() => "")).toBe("");
    for (const { socket } of idle) socket.terminate();
    await eventually("room again", async () => {
      const { stdout } = await site.manage(["keys", "--json"]);
      return stdout.includes('"running":true');
    });
    expect(server.process.killed).toBe(false);
  });

  test.skipIf(process.getuid?.() !== 0)("refuses another user of this machine", async () => {
    await using site = await Site.create();
    await site.start();
    await run(["chmod", "755", site.path]);
    const command = `cd '${site.path}' && exec ${site.server} disconnect alice`;
    const refused = await run(["su", "-s", "/bin/sh", "nobody", "-c", command]);
    if (!refused.stderr.includes("control.sock")) return; // The executable itself is out of that user's reach.
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toContain("Only the server's own user and root can.");
  });
});
