import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { symlink } from "node:fs/promises";
import { join } from "node:path";
import { dial, request } from "../helpers/frames.ts";
import { newIdentity, trust } from "../helpers/keys.ts";
import { LineClient } from "../helpers/line-client.ts";
import type { Running } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";

setDefaultTimeout(20_000);

// What clients are told of modules that do not load.

const good = "export const execute = (args: string) => args;\n";
let site: Site;
let server: Running;
/** May see every module. */
let full: LineClient;
/** May see `a.ts` and those that begin with `own-`. */
let narrow: LineClient;
let pings = 0;

beforeAll(async () => {
  site = await Site.create({ "a.ts": good });
  const identity = await newIdentity();
  await trust(site, { fingerprint: identity.fingerprint, name: "narrow", modules: ["a.ts", "own-*.ts"] });
  server = await site.start();
  full = await dial(site.port, site.certs);
  narrow = await LineClient.connect({ port: site.port, identity });
  for (const client of [full, narrow]) await request(client, "sys:ping", {});
});
afterAll(async () => {
  full?.terminate();
  narrow?.terminate();
  await site[Symbol.asyncDispose]();
});

/** Both clients' news of a module that does not load; undefined for one that is not told of it. */
async function errorsOf(mod: string): Promise<{ toFull: string; toNarrow: string | undefined }> {
  const pattern = new RegExp(`^moderror:.*"mod":"${mod}"`);
  const toFull = errorIn(await full.line(pattern));
  // Behind all broadcasts that were sent before.
  pings += 1;
  await request(narrow, "sys:ping", {}, `after-${pings}`);
  const line = narrow.lines.find((each) => pattern.test(each));
  return { toFull, toNarrow: line === undefined ? undefined : errorIn(line) };
}

const errorIn = (line: string) => (JSON.parse(line.slice(line.indexOf("{"))) as { error: string }).error;

describe("an error of a module", () => {
  test("whose name differs only in case from another does not name the other; the log does", async () => {
    await site.write("A.ts", good);
    const { toFull, toNarrow } = await errorsOf("a.ts");
    expect(toNarrow).toBe(toFull);
    expect(toNarrow).toBe(
      "a.ts: mods/ has another file whose name differs only in case; rename one of them.",
    );
    expect((await errorsOf("A.ts")).toNarrow).toBeUndefined();
    expect(narrow.lines.join("\n")).not.toContain("A.ts");
    expect(await server.line("a.ts cannot be loaded")).toContain("also has A.ts");
  });

  test("that is a link does not say where it leads; the log does", async () => {
    await symlink("/etc/hostname", join(site.path, "mods/own-link.ts"));
    const { toFull, toNarrow } = await errorsOf("own-link.ts");
    expect([toFull, toNarrow]).toEqual(
      Array(2).fill("own-link.ts: it is a symbolic link that leads out of mods/."),
    );
    expect(await server.line("own-link.ts cannot be loaded")).toContain("/etc/hostname");
  });

  test("caused by another module that it imports names that module only to clients that may see it", async () => {
    await site.write("secret.ts", good);
    await full.line(/^modload:.*"secret\.ts"/);
    await site.write(
      "own-user.ts",
      "import { nope } from './secret.ts';\nexport const execute = () => nope;\n",
    );
    const { toFull, toNarrow } = await errorsOf("own-user.ts");
    expect(toFull).toContain("secret.ts");
    expect(toNarrow).toBe("own-user.ts: a file that it imports is at fault.");
  });

  test("in its own files is reported in full, without a path of the server", async () => {
    await site.write("own-fault.ts", "await import('./gone' + 1);\n");
    await site.write(
      "own-json.ts",
      "import data from './lib/data.json'; export const execute = () => data;\n",
    );
    await site.write("lib/data.json", "{no");
    for (const mod of ["own-fault.ts", "own-json.ts"]) {
      const { toFull, toNarrow } = await errorsOf(mod);
      expect(toNarrow).toBe(toFull);
      expect(toNarrow?.length).toBeGreaterThan(mod.length + 20);
    }
  });

  test("never contains a path of the server", () => {
    for (const client of [full, narrow]) expect(client.lines.join("\n")).not.toContain(site.path);
  });
});
