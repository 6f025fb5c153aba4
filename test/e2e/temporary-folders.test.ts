import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { sandboxSupport } from "../../src/host/parent/sandbox-support.ts";
import { Site } from "../helpers/site.ts";
import { eventually } from "../helpers/within.ts";

setDefaultTimeout(60_000);

test.skipIf(!sandboxSupport().enforced.read)(
  "temporary folders go with a server that stops, and with the start after one that was killed",
  async () => {
    await using site = await Site.create({
      "folder.ts": "export const execute = () => [process.env.TMPDIR, process.cwd()].join(' ');\n",
    });
    const base = join(site.path, "tmp");
    mkdirSync(base);
    const env = { PATH: process.env.PATH ?? "", TMPDIR: base };
    const folders = async () => {
      const [temporary, working] = (await site.call(["exec", "folder"])).stdout.trim().split(" ");
      expect(working).toBe(temporary);
      return temporary ?? "";
    };

    const killed = await site.start([], env);
    const left = await folders();
    killed.process.kill("SIGKILL");
    await killed.ended();
    expect(existsSync(left)).toBe(true);

    const stopped = await site.start([], env);
    const own = await folders();
    await eventually("the removal of what was left", () => readdirSync(base).length === 1);
    expect(existsSync(own)).toBe(true);
    stopped.process.kill("SIGTERM");
    await stopped.ended(10_000);
    expect(readdirSync(base)).toEqual([]);
  },
);
