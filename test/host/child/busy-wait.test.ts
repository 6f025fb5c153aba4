import { expect, test } from "bun:test";
import { cpuMsOf, hasProcfs } from "../../helpers/procfs.ts";
import { load } from "../../helpers/versions.ts";

test.skipIf(!hasProcfs)(
  "a host that was called in quick succession rests when the calls have ended",
  async () => {
    await using m = await load("export const execute = (args: string) => args;");
    for (let call = 0; call < 2_000; call++) expect(await m.result(String(call))).toBe(String(call));
    const pid = m.version.stats().pid as number;
    await Bun.sleep(50);
    const before = cpuMsOf(pid);
    await Bun.sleep(1_000);
    // Its collector and the deadline wheel take a little; a host that stayed awake would take all of it.
    expect(cpuMsOf(pid) - before).toBeLessThan(300);
  },
);
