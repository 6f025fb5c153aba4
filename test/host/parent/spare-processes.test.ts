import { beforeEach, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { withDefaultLimits } from "../../../src/base/limits.ts";
import { SpareProcesses } from "../../../src/host/parent/spare-processes.ts";
import { type HostedVersion, listVersion, loadVersion } from "../../../src/modules/hosted-version.ts";
import { childrenOf, cpuMsOf, hasProcfs, isOnProcessor } from "../../helpers/procfs.ts";
import { RecordedCall, sourceOf } from "../../helpers/versions.ts";
import { eventually, within } from "../../helpers/within.ts";

const quick = { refillMs: 5, keepMs: 60_000 };

async function loaded(text: string, spares: SpareProcesses, more = ""): Promise<HostedVersion> {
  const source = await sourceOf(`${more} export const execute = () => ${JSON.stringify(text)};`);
  return loadVersion(source, { limits: withDefaultLimits(), spares });
}

async function answerOf(version: HostedVersion, args = ""): Promise<unknown> {
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

/** Those that belong to none of the given versions, when there are two. */
function sparesBeside(...versions: HostedVersion[]): Promise<number[]> {
  const known = versions.map((version) => version.stats().pid);
  return eventually("two processes that wait", () => {
    const waiting = ownChildren().filter((pid) => !known.includes(pid));
    return waiting.length === 2 && waiting;
  });
}

/** True when a process has used the processor, but not since the last look. */
function isAsleep(pid: number): boolean {
  const used = cpuMsOf(pid);
  const isAsleep = used > 0 && used === usedBefore.get(pid) && !isOnProcessor(pid);
  usedBefore.set(pid, used);
  return isAsleep;
}
const usedBefore = new Map<number, number>();

describe.skipIf(!hasProcfs)("after a load, spare processes wait for the next one", () => {
  test("which takes one and answers like any other", async () => {
    const spares = new SpareProcesses({}, quick);
    spares.open();
    const first = await loaded("one", spares);
    const waiting = await sparesBeside(first);
    const second = await loaded("two", spares);
    expect(waiting).toContain(second.stats().pid ?? 0);
    expect(await answerOf(second)).toEqual({ ok: true, resultJson: '"two"' });
    expect(await answerOf(first)).toEqual({ ok: true, resultJson: '"one"' });
    await spares.close();
    await Promise.all([first.stop(), second.stop()]);
    await eventually("the end of all", () => ownChildren().length === 0);
  });

  test("and the text they have warmed up with is no file of the module", async () => {
    const spares = new SpareProcesses({}, quick);
    spares.open();
    const first = await loaded("one", spares);
    const waiting = await sparesBeside(first);
    for (const pid of waiting) await eventually("the end of its warm-up", () => isAsleep(pid));
    const source = await sourceOf(
      `export const execute = (own) => import(own).then(() => "loaded", (error) => error.message);`,
    );
    const second = await loadVersion(source, { limits: withDefaultLimits(), spares });
    expect(waiting).toContain(second.stats().pid ?? 0);
    expect(await answerOf(second, join(first.source.root, "warm-up.veripy"))).toEqual({
      ok: true,
      resultJson: expect.stringContaining("cannot import"),
    });
    await spares.close();
    await Promise.all([first.stop(), second.stop()]);
  });

  test("and are replaced if they have died meanwhile", async () => {
    const spares = new SpareProcesses({}, quick);
    spares.open();
    const first = await loaded("one", spares);
    const waiting = await sparesBeside(first);
    for (const pid of waiting) process.kill(pid, "SIGKILL");
    // The system removes this entry when the parent has been told of the end.
    for (const pid of waiting) await eventually("the end of one", () => !existsSync(`/proc/${pid}`));
    const second = await loaded("two", spares);
    expect(waiting).not.toContain(second.stats().pid ?? 0);
    expect(await answerOf(second)).toEqual({ ok: true, resultJson: '"two"' });
    await spares.close();
    await Promise.all([first.stop(), second.stop()]);
  });

  test("and one of them stays when none was needed for some time", async () => {
    const spares = new SpareProcesses({}, { refillMs: 5, keepMs: 500 });
    spares.open();
    const loading = loaded("one", spares);
    // The load may take longer than the spare processes are kept.
    const seen = new Set<number>();
    await eventually("two that wait", () => {
      for (const pid of ownChildren()) seen.add(pid);
      return seen.size === 3;
    });
    const first = await loading;
    await eventually("the end of one", () => ownChildren().length === 2);
    const second = await loaded("two", spares);
    expect([...seen]).toContain(second.stats().pid ?? 0);
    await spares.close();
    await Promise.all([first.stop(), second.stop()]);
  });

  test("also for the permissions that were needed before", async () => {
    const spares = new SpareProcesses({}, { refillMs: 5, keepMs: 60_000 });
    spares.open();
    const pure = await loaded("one", spares);
    await eventually("two that wait", () => ownChildren().length === 3);
    const free = await loaded("two", spares, 'export const permissions = "all";');
    await eventually("one for the other permissions", () => ownChildren().length === 5);
    const waiting = ownChildren().filter((pid) => pid !== free.stats().pid && pid !== pure.stats().pid);
    const next = await loaded("three", spares);
    expect(waiting).toContain(next.stats().pid ?? 0);
    await spares.close();
    await Promise.all([pure.stop(), free.stop(), next.stop()]);
  });

  test("which a trial leaves to calls and edits", async () => {
    const spares = new SpareProcesses({}, quick);
    spares.open();
    const versions = { limits: withDefaultLimits(), spares };
    const tried = listVersion(await sourceOf("export const execute = () => 'tried';"), versions);
    if (tried === undefined) throw new Error("It was not listed.");
    await tried.prove();
    await eventually("two that wait", () => ownChildren().length === 3);
    const waiting = ownChildren().filter((pid) => pid !== tried.stats().pid);
    const other = listVersion(await sourceOf("export const execute = () => 'other';"), versions);
    if (other === undefined) throw new Error("It was not listed.");
    await other.prove();
    expect(waiting).not.toContain(other.stats().pid ?? 0);
    const edited = await loaded("edited", spares);
    expect(waiting).toContain(edited.stats().pid ?? 0);
    await spares.close();
    await Promise.all([tried.stop(), other.stop(), edited.stop()]);
  });

  test("and are ended by close()", async () => {
    const spares = new SpareProcesses({}, quick);
    spares.open();
    const first = await loaded("one", spares);
    await sparesBeside(first);
    await spares.close();
    expect(ownChildren()).toEqual([first.stats().pid ?? 0]);
    await first.stop();
  });
});

test.skipIf(!hasProcfs)("before open(), there is no spare process", async () => {
  const spares = new SpareProcesses({}, quick);
  const first = await loaded("one", spares);
  const second = await loaded("two", spares);
  expect(ownChildren().sort()).toEqual([first.stats().pid ?? 0, second.stats().pid ?? 0].sort());
  await Promise.all([first.stop(), second.stop()]);
});
