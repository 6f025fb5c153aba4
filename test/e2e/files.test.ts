import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { dial, request } from "../helpers/frames.ts";
import { run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { jsonLines, python, pythonFixture, sha256 } from "../helpers/tools.ts";

setDefaultTimeout(20_000);

const module = "export const execute = async () => 'fine';";

/** Texts that a careless reader, hasher or encoder changes on the way. */
const texts: Record<string, string> = {
  "bom.ts": `\ufeff${module}\n`,
  "crlf.ts": `// one\r\n${module}\r\n`,
  "lone-cr.ts": `/* one\rtwo */ ${module}\n`,
  "no-last-newline.ts": module,
  "blank-lines.ts": `\n\n${module}\n\n\n`,
  "nul.ts": `${module} // a\u0000b\n`,
  "separators.ts": `${module} const text = "\u2028\u2029";\n`,
  "astral.ts": `${module} const text = "\u{1f40d}\u{10ffff}\u{2070e}";\n`,
  "combining.ts": `${module} const text = "e\u0301 \u00e9 \ufb01";\n`,
  "noncharacters.ts": `${module} const text = "\uffff\ufffd\ufeff";\n`,
  "quotes.ts": `${module} const text = "\\"\\\\ \\u0041 </script>";\n`,
  "controls.ts": `${module} /* \u0001\u0008\u000b\u001b[31m\u007f\u0085 */\n`,
  "large.ts": `${module}\n${"// sixty-four bytes of ballast, so that the file gets long: äöü\n".repeat(9_400)}`,
};

let site: Site;
/** By name: what the `sha256sum` program says of the file on the disk. */
const onDisk = new Map<string, string>();

beforeAll(async () => {
  site = await Site.create(texts);
  const { stdout } = await run(["sha256sum", ...Object.keys(texts)], { cwd: join(site.path, "mods") });
  for (const line of stdout.trimEnd().split("\n")) onDisk.set(line.slice(66), line.slice(0, 64));
  await site.start();
});
afterAll(() => site[Symbol.asyncDispose]());

test("the large one has more than 600 KB, and no digest is like another", () => {
  expect(Buffer.byteLength(texts["large.ts"] ?? "")).toBeGreaterThan(600_000);
  expect(new Set(onDisk.values()).size).toBe(Object.keys(texts).length);
});

test("every file has the sum that sha256sum prints, and runs", async () => {
  const { exitCode, stdout } = await site.call(["--json", "verify", ...Object.keys(texts)]);
  const verdicts = jsonLines(stdout);
  expect(exitCode).toBe(0);
  expect(new Map(verdicts.map(({ mod, sum }) => [String(mod), String(sum)]))).toEqual(onDisk);
  expect(verdicts.filter(({ verified }) => verified !== true)).toEqual([]);

  using client = await dial(site.port, site.certs);
  for (const mod of Object.keys(texts)) {
    const { payload } = await request(client, "mod:exec", { mod, args: "" }, mod);
    expect(payload).toMatchObject({ mod, result: "fine", sum: onDisk.get(mod) });
  }
});

test("the tree of a single file is the sum of what sha256sum prints", async () => {
  const [verdict] = jsonLines((await site.call(["--json", "verify", "bom"])).stdout);
  const { stdout } = await run(["sh", "-c", "sha256sum bom.ts | sha256sum"], {
    cwd: join(site.path, "mods"),
  });
  expect(verdict?.tree).toBe(stdout.slice(0, 64));
});

describe.skipIf(python === undefined)("received by Python, if there is one", () => {
  test("every file is the same, byte for byte", async () => {
    const folder = join(site.path, "received");
    await mkdir(folder);
    const command = pythonFixture("plain_client.py", String(site.port), site.certs, "--save", folder);
    const { exitCode, stdout } = await run(command);
    expect(exitCode).toBe(0);
    expect(jsonLines(stdout).filter(({ event, verified }) => event === "verdict" && !verified)).toEqual([]);
    for (const [name, sum] of onDisk) {
      const received = await Bun.file(join(folder, name)).bytes();
      expect([name, sha256(received)]).toEqual([name, sum]);
      expect(Buffer.compare(received, await Bun.file(join(site.path, "mods", name)).bytes())).toBe(0);
    }
  });
});
