import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { dial, request } from "../helpers/frames.ts";
import { trustText } from "../helpers/keys.ts";
import { Site, servedSite } from "../helpers/site.ts";
import { within } from "../helpers/within.ts";

setDefaultTimeout(20_000);

const { site, server } = await servedSite();

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

    expect(await site.type(logged.command ?? "")).toMatchObject({ exitCode: 0, stderr: "" });
    await site.admitted(stranger.certs);
    const now = await site.call(["--certs", stranger.certs, "exec", "hello"]);
    expect(now.stdout).toBe("Hello, World!\n");
  });

  test("gets no reply to invalid data, while a trusted client is told what is wrong with it", async () => {
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

  test("gets no reply to a request right after the handshake, while a trusted client does", async () => {
    using known = await dial(site.port, site.certs);
    const { payload } = await request(known, "mod:sync", {});
    expect(payload.modules).toMatchObject([{ mod: "hello.ts" }]);

    const stranger = await site.newClient("hasty");
    using unknown = await dial(site.port, stranger.certs);
    unknown.send("mod:sync:1 {}\n");
    await within(2_000, "the connection to be closed", unknown.closed);
    expect(unknown.lines).toEqual([]);
  });

  test("is refused with a command that names the trust file, if that is not the default one", async () => {
    await using other = await Site.create();
    const file = join(other.path, "who's trusted.json");
    await rename(join(other.path, "trusted-keys.json"), file);
    const started = await other.start(["--trusted-keys", file]);
    const stranger = await other.newClient("stranger");
    await other.call(["--certs", stranger.certs, "list"]);
    const { command = "" } = await refusalOf(stranger.fingerprint, started);
    // In another directory: the command must work wherever it is typed.
    expect(await other.type(command, dirname(other.path))).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await Bun.file(file).text()).toContain(stranger.fingerprint);
  });
});

describe("a revoked client", () => {
  test("is disconnected within a second, and the others are not", async () => {
    const leaver = await site.newClient("leaver");
    await site.admit(leaver, "--name", "leaver");
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

    // The next valid version takes effect.
    const joining = await site.newClient("joining");
    await writeFile(trusted(), good);
    await site.admit(joining);
    expect(watching.stdout.join("\n")).not.toContain("disconnected");
  });

  test("keeps its last good content when it is removed", async () => {
    const good = await Bun.file(trusted()).text();
    await rename(trusted(), `${trusted()}.away`);
    await server.line(/Kept the last good trusted keys.*it does not exist/);
    expect((await site.call(["exec", "hello", "still"])).exitCode).toBe(0);
    await writeFile(trusted(), good);
  });
});
