import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Identity } from "../../src/identity/identity.ts";
import { connect, type VeripyClient, VeripyError } from "../../src/index.ts";
import { clientOf, newIdentity, trustText } from "../helpers/keys.ts";
import { LineClient } from "../helpers/line-client.ts";
import { Running } from "../helpers/processes.ts";
import { cpuMsOf } from "../helpers/procfs.ts";
import { Site } from "../helpers/site.ts";
import { canMount, SmallDisk } from "../helpers/small-disk.ts";
import { testModules } from "../helpers/test-modules.ts";
import { vitalsOf } from "../helpers/vitals.ts";
import { eventually, within } from "../helpers/within.ts";

let site: Site;
let identity: Identity;

beforeEach(async () => {
  site = await Site.create(testModules);
  identity = await clientOf(site);
}, 30_000);
afterEach(() => site[Symbol.asyncDispose]());

const open = (port = site.port): Promise<VeripyClient> =>
  connect({ host: "127.0.0.1", port, certsDir: site.certs, timeoutMs: 5_000 });
const echo = async (client: VeripyClient, text: string) => (await client.exec("echo.ts", text)).result;

async function failureOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "ok";
  } catch (error) {
    if (error instanceof VeripyError) return `${error.code}: ${error.message}`;
    throw error;
  }
}

describe("a disk that is full", () => {
  test.skipIf(process.platform !== "linux")(
    "under the audit log is said in the log, and calls go on",
    async () => {
      await using server = await site.start(["--audit", "/dev/full"]);
      using client = await open();
      expect(await echo(client, "a")).toBe("a");
      await server.line(/audit.*ENOSPC/i);
    },
  );

  test.skipIf(process.platform !== "linux")(
    "under an audit log that is required stops calls with an error that says so",
    async () => {
      await using _ = await site.start(["--audit", "/dev/full", "--audit-required"]);
      using client = await open();
      expect(await failureOf(client.exec("echo.ts", "a"))).toMatch(/^busy: .*audit.*ENOSPC/);
      expect((await client.verify("echo.ts")).verified).toBe(true);
    },
  );

  test.skipIf(!canMount)("and then has room again: calls go on, and the audit log is whole", async () => {
    await using disk = await SmallDisk.mount(join(site.path, "disk"));
    const audit = join(disk.path, "audit.jsonl");
    await using _ = await site.start(["--audit", audit, "--audit-required"]);
    using client = await open();
    expect(await echo(client, "before")).toBe("before");
    await disk.fill();
    // The call that meets the full disk may still run; its record waits in memory.
    const failures = await eventually("a refused call", async () => {
      const failure = await failureOf(client.exec("echo.ts", "meanwhile"));
      return failure === "ok" ? undefined : failure;
    });
    expect(failures).toMatch(/^busy: .*audit/);
    await disk.free();
    expect(await echo(client, "after")).toBe("after");
    client.close();
    const lines = (await readFile(audit, "utf8")).trim().split("\n");
    const events = lines.map((line) => JSON.parse(line) as { event: string; code?: string });
    expect(
      events.filter(({ event, code }) => event === "exec" && code === "ok").length,
    ).toBeGreaterThanOrEqual(2);
    expect(events.some(({ event, code }) => event === "exec" && code === "busy")).toBe(true);
  });

  test.skipIf(!canMount)("leaves the trust file as it was when a key can't be added", async () => {
    await using disk = await SmallDisk.mount(join(site.path, "disk"));
    const file = join(disk.path, "trusted-keys.json");
    await writeFile(file, await readFile(join(site.path, "trusted-keys.json")));
    await disk.fill();
    const before = await readFile(file, "utf8");
    const { fingerprint } = await newIdentity();
    const { exitCode, stderr } = await site.manage(["trust", fingerprint, "--trusted-keys", file]);
    expect(exitCode).not.toBe(0);
    expect(stderr).toContain("the disk is full");
    expect(await readFile(file, "utf8")).toBe(before);
    await disk.free();
    expect((await site.manage(["trust", fingerprint, "--trusted-keys", file])).exitCode).toBe(0);
  });
});

describe("mods/", () => {
  test.each([
    ["taken away", "modunload: echo.ts"],
    ["replaced by a file", /"level":"(error|warning)".*mods/],
  ])("%s and put back: the server says so, lives on, and serves what is there", async (how, said) => {
    await using server = await site.start();
    using client = await open();
    expect(await echo(client, "a")).toBe("a");
    const mods = join(site.path, "mods");
    await rename(mods, `${mods}.away`);
    if (how === "replaced by a file") await writeFile(mods, "not a folder");
    await server.line(said);
    expect(await client.ping()).toBeGreaterThan(0);
    await rm(mods, { force: true });
    await rename(`${mods}.away`, mods);
    await writeFile(join(mods, "new.ts"), 'export const execute = () => "new";\n');
    await eventually("the new module", () => client.reports.has("new.ts"));
    expect((await client.exec("new.ts")).result).toBe("new");
    await eventually("the old module", () => client.reports.has("echo.ts"));
    expect(await echo(client, "b")).toBe("b");
  });
});

describe("the trust file", () => {
  test.each(["missing", "a folder"])(
    "%s while the server runs: who was trusted stays so, and it is said",
    async (how) => {
      await using server = await site.start();
      using client = await open();
      const file = join(site.path, "trusted-keys.json");
      await rename(file, `${file}.away`);
      if (how === "a folder") await mkdir(file);
      await server.line("Kept the last good trusted keys");
      expect(await echo(client, "still here")).toBe("still here");
      using another = await open();
      expect(await echo(another, "and new")).toBe("and new");

      const closed = new Promise((resolve) => client.once("closed", resolve));
      await rm(file, { recursive: true, force: true });
      await writeFile(file, trustText());
      await within(5_000, "the end of the client", closed);
      expect(await failureOf(open())).toStartWith("untrusted");
    },
  );
});

describe("descriptors that run out", () => {
  test.skipIf(process.platform !== "linux")(
    "are said in the log, cost no busy loop, and connecting works again when some are free",
    async () => {
      await using server = new Running(
        ["sh", "-c", 'ulimit -n 72 && exec "$@"', "sh", site.server, "--port", "0", "--json", "--eager"],
        { cwd: site.path },
      );
      const { port } = JSON.parse(await server.line('"port":')) as { port: number };
      const { pid } = server.process;
      using client = await open(port);
      expect(await echo(client, "before")).toBe("before");

      const crowd = await Promise.all(
        Array.from({ length: 90 }, () => LineClient.connect({ port, identity })),
      );
      await server.line("out_of_descriptors");
      const turnedAway = crowd.filter(({ isClosed }) => isClosed);
      expect(turnedAway.length).toBeGreaterThan(0);
      expect(vitalsOf(pid).descriptors).toBeLessThan(72);
      expect(await echo(client, "meanwhile")).toBe("meanwhile");
      const cpu = cpuMsOf(pid);
      await Bun.sleep(500);
      expect(cpuMsOf(pid) - cpu).toBeLessThan(250);
      await site.write("edited.ts", 'export const execute = () => "edited";\n');
      await eventually("the new module", () => client.reports.has("edited.ts"));

      for (const each of crowd) each.terminate();
      await eventually("a free descriptor", async () => {
        const code = await failureOf(
          open(port).then((again) => echo(again, "again").finally(() => again.close())),
        );
        return code === "ok";
      });
      expect((await client.exec("edited.ts")).result).toBe("edited");
    },
  );
});
