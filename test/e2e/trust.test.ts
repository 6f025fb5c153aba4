import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { dial, request } from "../helpers/frames.ts";
import { trustText } from "../helpers/keys.ts";
import { type Running, run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { eventually, within } from "../helpers/within.ts";

setDefaultTimeout(20_000);

let site: Site;
let server: Running;

beforeAll(async () => {
  site = await Site.create();
  server = await site.start();
});
afterAll(() => site[Symbol.asyncDispose]());

interface Logged {
  readonly fingerprint?: string;
  readonly command?: string;
  readonly address?: string;
  readonly message: string;
}

/** The log record of a refused key. */
async function refusalOf(fingerprint: string, of = server): Promise<Logged> {
  const line = await of.line((text) => text.includes(fingerprint) && text.includes('"command"'));
  return JSON.parse(line) as Logged;
}

describe("an unknown client", () => {
  test("is refused, and the command in the log lets it in", async () => {
    const stranger = await site.newClient("stranger");
    const before = await site.call(["--certs", stranger.certs, "exec", "hello"]);
    expect(before.exitCode).toBe(3);
    expect(before.stdout).toBe("");
    expect(before.stderr).toContain(`veripy-server trust ${stranger.fingerprint}`);

    const logged = await refusalOf(stranger.fingerprint);
    expect(logged.command).toBe(`veripy-server trust ${stranger.fingerprint}`);
    expect(logged.message).toContain(stranger.fingerprint);
    expect(logged.message).toContain(`${logged.command}`);
    expect(logged.address).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(server.stderr.filter((line) => line.includes(stranger.fingerprint))).toHaveLength(1);

    const path = `${dirname(site.server)}:${process.env.PATH}`;
    const typed = await run(["sh", "-c", logged.command ?? ""], { cwd: site.path, env: { PATH: path } });
    expect(typed).toMatchObject({ exitCode: 0, stderr: "" });
    const now = await eventually("the new key to be let in", async () => {
      const answer = await site.call(["--certs", stranger.certs, "exec", "hello"]);
      return answer.exitCode === 0 && answer;
    });
    expect(now.stdout).toBe("Hello, World!\n");
  });

  test("gets not one byte back, where a trusted one is told what is wrong with its bytes", async () => {
    const stranger = await site.newClient("talkative");
    using unknown = await dial(site.port, stranger.certs);
    unknown.send("this is no frame\n");
    await within(2_000, "the connection to be closed", unknown.closed);
    expect(unknown.lines).toEqual([]);

    using known = await dial(site.port, site.certs);
    known.send("this is no frame\n");
    await within(2_000, "the connection to be closed", known.closed);
    expect(known.lines).toHaveLength(1);
    expect(known.lines[0]).toStartWith('sys:error:- {"error":');
  });

  test("gets no answer to a request that comes right after the handshake; a trusted one does", async () => {
    using known = await dial(site.port, site.certs);
    const { payload } = await request(known, "mod:sync", {});
    expect(payload.modules).toMatchObject([{ mod: "hello.ts" }]);

    const stranger = await site.newClient("hasty");
    using unknown = await dial(site.port, stranger.certs);
    unknown.send("mod:sync:1 {}\n");
    await within(2_000, "the connection to be closed", unknown.closed);
    expect(unknown.lines).toEqual([]);
  });

  test("of a server with a trust file elsewhere gets a command that names that file", async () => {
    await using other = await Site.create();
    const file = join(other.path, "who's trusted.json");
    await rename(join(other.path, "trusted-keys.json"), file);
    const started = await other.start(["--trusted-keys", file]);
    const stranger = await other.newClient("stranger");
    await other.call(["--certs", stranger.certs, "list"]);
    const { command = "" } = await refusalOf(stranger.fingerprint, started);
    const path = `${dirname(other.server)}:${process.env.PATH}`;
    // In another folder: the command must not depend on where it is typed.
    const typed = await run(["sh", "-c", command], { cwd: dirname(other.path), env: { PATH: path } });
    expect(typed).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await Bun.file(file).text()).toContain(stranger.fingerprint);
  });
});

describe("a revoked client", () => {
  test("is cut off within a second, and the others stay", async () => {
    const leaver = await site.newClient("leaver");
    await site.manage(["trust", leaver.fingerprint, "--name", "leaver"]);
    await eventually("the new key to be let in", async () => {
      return (await site.call(["--certs", leaver.certs, "list"])).exitCode === 0;
    });
    const leaving = site.watch(["--json", "--certs", leaver.certs]);
    const staying = site.watch(["--json"]);
    await leaving.line('"verified":true');
    await staying.line('"verified":true');

    expect((await site.manage(["untrust", "leaver"])).exitCode).toBe(0);
    const cut = await leaving.line('"event":"disconnected"', 1_000);
    expect(JSON.parse(cut)).toMatchObject({ code: "untrusted" });
    await leaving.line(/"event":"disconnected".*veripy-server trust/);

    await site.write("later.ts", "export const execute = async () => 'still here';");
    await staying.line(/"event":"verdict","cause":"modload".*"later.ts"/);
    expect(staying.stdout.join("\n")).not.toContain("disconnected");
  });
});

describe("the trust file, while the server runs", () => {
  const trusted = () => join(site.path, "trusted-keys.json");

  test("keeps its last good content when it is broken, and says where", async () => {
    const good = await Bun.file(trusted()).text();
    const watching = site.watch(["--json"]);
    await watching.line('"verified":true');
    await writeFile(trusted(), trustText("not a fingerprint"));
    expect(await server.line("Kept the last good trusted keys")).toContain(
      "trusted-keys.json: trusted_fingerprints[0]",
    );
    await writeFile(trusted(), `${good}}`);
    await server.line(/Kept the last good trusted keys.*line \d+, column \d+/);
    expect((await site.call(["exec", "hello", "still"])).stdout).toBe("Hello, still!\n");

    // And what comes after counts again.
    const joining = await site.newClient("joining");
    await writeFile(trusted(), good);
    await site.manage(["trust", joining.fingerprint]);
    await eventually("the new key to be let in", async () => {
      return (await site.call(["--certs", joining.certs, "list"])).exitCode === 0;
    });
    expect(watching.stdout.join("\n")).not.toContain("disconnected");
  });

  test("keeps its last good content when it is removed", async () => {
    const good = await Bun.file(trusted()).text();
    await rename(trusted(), `${trusted()}.away`);
    await server.line(/Kept the last good trusted keys.*it is not there/);
    expect((await site.call(["exec", "hello", "still"])).exitCode).toBe(0);
    await writeFile(trusted(), good);
  });
});
