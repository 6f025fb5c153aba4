import { describe, expect, test } from "bun:test";
import { chmod, rename } from "node:fs/promises";
import { join } from "node:path";
import { evil, strayEscapes } from "../helpers/escapes.ts";
import { Site } from "../helpers/site.ts";

interface Line {
  readonly subject: string;
  readonly state: "ok" | "warning" | "error";
  readonly message: string;
  readonly code?: string;
}

async function examined(site: Site, ...flags: string[]): Promise<{ lines: Line[]; exitCode: number }> {
  const { stdout, stderr, exitCode } = await site.call(["doctor", "--json", ...flags]);
  expect(stderr).toBe("");
  const lines = stdout.split("\n").flatMap((line) => (line === "" ? [] : (JSON.parse(line) as Line)));
  return { lines, exitCode };
}

const faults = (lines: readonly Line[]) =>
  lines.flatMap(({ subject, state, message }) => (state === "error" ? `${subject}: ${message}` : []));

describe("veripy-client doctor", () => {
  test("finds nothing wrong with a client that works, and says so one line each", async () => {
    await using site = await Site.create();
    await site.start();
    const { lines, exitCode } = await examined(site);
    expect([exitCode, faults(lines)]).toEqual([0, []]);
    expect([...new Set(lines.map(({ subject }) => subject))]).toEqual(
      "settings home lock files key hosts trust network server tls clock modules versions sandbox".split(" "),
    );
    expect(lines.find(({ subject }) => subject === "tls")?.message).toContain("TLSv1.3 with TLS_");

    const text = await site.call(["doctor"]);
    expect(text.stdout.split("\n").length - 1).toBe(lines.length);
    expect(text.stdout).toMatch(/^ok {7}home {6}\.$/m);
  });

  test("goes on after each fault, and says for each what to type; its exit code is that of the worst", async () => {
    await using site = await Site.create();
    await Bun.write(join(site.path, "veripy.toml"), "tineout = 5\n");
    await Bun.write(join(site.path, "veripy.lock"), "{");
    await chmod(join(site.certs, "client.key"), 0o644);
    const { lines, exitCode } = await examined(site, "--port", "1");
    expect(exitCode).toBe(3);
    expect(faults(lines)).toEqual([
      expect.stringMatching(/^settings: .*veripy\.toml: line 1: unknown key 'tineout'.*timeout/),
      expect.stringMatching(/^lock: .*veripy-client approve$/),
      expect.stringMatching(/^key: .*chmod 600 certs\/client\.key$/),
      expect.stringMatching(/^network: .*nothing is listening there.*veripy-server$/),
    ]);
  });

  test("has exit code 2 where only files are wrong, and still finds out whether the server answers", async () => {
    await using site = await Site.create();
    await site.start();
    await rename(join(site.certs, "client.crt"), join(site.certs, "moved.crt"));
    const { lines, exitCode } = await examined(site);
    expect(exitCode).toBe(2);
    expect(faults(lines)).toEqual([expect.stringMatching(/^key: .*veripy-client renew/)]);
    expect(lines.find(({ subject }) => subject === "network")?.message).toContain("answers, with the key");
  });

  test("says that a server has another key than expected, or does not trust this client", async () => {
    await using site = await Site.create();
    await site.start();
    const stranger = await site.newClient("stranger");
    const refused = await examined(site, "--certs", "stranger");
    expect(refused.exitCode).toBe(3);
    expect(faults(refused.lines)).toEqual([
      expect.stringMatching(new RegExp(`^server: .*veripy-server trust ${stranger.fingerprint}$`)),
    ]);

    await Bun.write(join(stranger.certs, "server.crt"), Bun.file(join(site.certs, "client.crt")));
    const other = await examined(site, "--certs", "stranger");
    expect(other.exitCode).toBe(3);
    expect(faults(other.lines)).toEqual([expect.stringMatching(/^server: .*veripy-client trust-server /)]);
  });

  test("escapes what files name", async () => {
    await using site = await Site.create();
    await Bun.write(join(site.path, "veripy.toml"), `${JSON.stringify(evil.slice(0, -1))} = 1\n`);
    const { stdout, stderr, exitCode } = await site.call(["doctor", "--port", "1"]);
    expect(exitCode).toBe(3);
    expect(strayEscapes(stdout + stderr)).toEqual([]);
  });
});
