import { beforeEach, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { withDefaultLimits } from "../../../src/base/limits.ts";
import { HostReserve } from "../../../src/host/parent/spare-process.ts";
import { loadVersion, type ModuleVersion } from "../../../src/modules/hosted-version.ts";
import { childrenOf, hasProcfs } from "../../helpers/procfs.ts";
import { gone, RecordedCall, sourceOf } from "../../helpers/versions.ts";
import { eventually, within } from "../../helpers/within.ts";

const quick = { refillMs: 5, keepMs: 60_000 };

async function loaded(text: string, reserve: HostReserve): Promise<ModuleVersion> {
  const source = await sourceOf(`export const execute = () => ${JSON.stringify(text)};`);
  return loadVersion(source, { limits: withDefaultLimits(), reserve });
}

async function answerOf(version: ModuleVersion, args = ""): Promise<unknown> {
  const call = new RecordedCall();
  version.call(
    { argsJson: JSON.stringify(args), timeoutMs: 5_000, client: { fingerprint: "ab".repeat(32) }, ref: "1" },
    call,
  );
  return within(5_000, "the answer", call.ended);
}

/** What tests before have left, which may still be about to end. */
let others: readonly number[] = [];
beforeEach(() => {
  others = hasProcfs ? childrenOf(process.pid) : [];
});

/** The processes that this test has started. */
function ownChildren(): number[] {
  return childrenOf(process.pid).filter((pid) => !others.includes(pid));
}

/** The one that belongs to none of the given versions. */
function spareBeside(...versions: ModuleVersion[]): Promise<number> {
  const known = versions.map((version) => version.stats().pid);
  return eventually("a process that waits", () => ownChildren().find((pid) => !known.includes(pid)));
}

describe.skipIf(!hasProcfs)("after a load, a process waits for the next", () => {
  test("which takes it, and answers as any other does", async () => {
    const reserve = new HostReserve({}, quick);
    reserve.open();
    const first = await loaded("one", reserve);
    const spare = await spareBeside(first);
    const second = await loaded("two", reserve);
    expect(second.stats().pid).toBe(spare);
    expect(await answerOf(second)).toEqual({ ok: true, resultJson: '"two"' });
    expect(await answerOf(first)).toEqual({ ok: true, resultJson: '"one"' });
    await reserve.close();
    await Promise.all([first.stop(), second.stop()]);
    await eventually("the end of all", () => ownChildren().length === 0);
  });

  test("and what it has tried its loader with is no file of the module", async () => {
    const reserve = new HostReserve({}, quick);
    reserve.open();
    const first = await loaded("one", reserve);
    const spare = await spareBeside(first);
    // Long enough for it to start and to be done with its trial; the answer is the same if it was not.
    await Bun.sleep(200);
    const source = await sourceOf(
      `export const execute = (own) => import(own).then(() => "loaded", (error) => error.message);`,
    );
    const second = await loadVersion(source, { limits: withDefaultLimits(), reserve });
    expect(second.stats().pid).toBe(spare);
    expect(await answerOf(second, join(first.source.root, "warm-up.veripy"))).toEqual({
      ok: true,
      resultJson: expect.stringContaining("cannot import"),
    });
    await reserve.close();
    await Promise.all([first.stop(), second.stop()]);
  });

  test("and one that has died meanwhile is not missed", async () => {
    const reserve = new HostReserve({}, quick);
    reserve.open();
    const first = await loaded("one", reserve);
    const spare = await spareBeside(first);
    process.kill(spare, "SIGKILL");
    // Not only dead: whoever started it has been told. The system drops it when that has happened.
    await eventually("the end of the process that waited", () => !existsSync(`/proc/${spare}`));
    const second = await loaded("two", reserve);
    expect(second.stats().pid).not.toBe(spare);
    expect(await answerOf(second)).toEqual({ ok: true, resultJson: '"two"' });
    await reserve.close();
    await Promise.all([first.stop(), second.stop()]);
  });

  test("but not for ever", async () => {
    const reserve = new HostReserve({}, { refillMs: 5, keepMs: 500 });
    reserve.open();
    const loading = loaded("one", reserve);
    // The load may take longer than the other process waits.
    const seen = new Set<number>();
    await eventually("two processes", () => {
      for (const pid of ownChildren()) seen.add(pid);
      return seen.size === 2;
    });
    const first = await loading;
    for (const pid of seen) if (pid !== first.stats().pid) await gone(pid, "the process that waited");
    expect(ownChildren()).toEqual([first.stats().pid ?? 0]);
    await reserve.close();
    await first.stop();
  });

  test("and not after the end", async () => {
    const reserve = new HostReserve({}, quick);
    reserve.open();
    const first = await loaded("one", reserve);
    const spare = await spareBeside(first);
    await reserve.close();
    expect(ownChildren()).not.toContain(spare);
    await first.stop();
  });
});

test.skipIf(!hasProcfs)("while a server starts, no process waits", async () => {
  const reserve = new HostReserve({}, quick);
  const first = await loaded("one", reserve);
  const second = await loaded("two", reserve);
  expect(ownChildren().sort()).toEqual([first.stats().pid ?? 0, second.stats().pid ?? 0].sort());
  await Promise.all([first.stop(), second.stop()]);
});
