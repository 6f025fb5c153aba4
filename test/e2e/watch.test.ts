import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { clientOf } from "../helpers/keys.ts";
import type { Running } from "../helpers/processes.ts";
import { hasProcfs } from "../helpers/procfs.ts";
import { Site } from "../helpers/site.ts";
import { jsonLines, sha256 } from "../helpers/tools.ts";
import { sleepsOf } from "../helpers/vitals.ts";
import { eventually } from "../helpers/within.ts";

setDefaultTimeout(20_000);

const saying = (word: string) => `export const execute = async () => ${JSON.stringify(word)};\n`;

let site: Site;
let watching: Running;

beforeAll(async () => {
  site = await Site.create();
  await site.start();
  watching = site.watch(["--json"]);
  await watching.line('"cause":"sync","verified":true');
});
afterAll(() => site[Symbol.asyncDispose]());

const inMods = (name: string) => join(site.path, "mods", name);
const result = async (mod: string) => (await site.call(["exec", mod])).stdout;

/** The verdict on exactly this content. */
async function verdictOn(content: string): Promise<Record<string, unknown>> {
  const sum = sha256(content);
  const line = await watching.line((text) => text.includes('"event":"verdict"') && text.includes(sum));
  return jsonLines(line)[0] ?? {};
}

const eventsAbout = (mod: string, of = watching) =>
  jsonLines(of.stdout.join("\n"))
    .filter((event) => event.mod === mod || (event.report as { mod?: string } | undefined)?.mod === mod)
    .map(({ event }) => event);

describe("a watching client", () => {
  test("reports a new module, a change, a rename over it and its removal", async () => {
    await writeFile(inMods("life.ts"), saying("one"));
    expect(await verdictOn(saying("one"))).toMatchObject({ verified: true, cause: "modload" });
    expect(await result("life")).toBe("one\n");

    await writeFile(inMods("life.ts"), saying("two"));
    expect(await verdictOn(saying("two"))).toMatchObject({ verified: true, cause: "modreload" });
    expect(await result("life")).toBe("two\n");

    await writeFile(inMods(".life.ts.swp"), saying("three"));
    await rename(inMods(".life.ts.swp"), inMods("life.ts"));
    expect(await verdictOn(saying("three"))).toMatchObject({ verified: true, cause: "modreload" });
    expect(await result("life")).toBe("three\n");

    await rm(inMods("life.ts"));
    await watching.line('"event":"modunload","mod":"life.ts"');
    expect((await site.call(["exec", "life"])).exitCode).toBe(2);
    expect(eventsAbout("life.ts")).toEqual([
      "modload",
      "verdict",
      "modreload",
      "verdict",
      "modreload",
      "verdict",
      "modunload",
    ]);
  });

  test("does not report a file that was rewritten with the same content", async () => {
    await writeFile(inMods("same.ts"), saying("same"));
    await verdictOn(saying("same"));
    await writeFile(inMods("same.ts"), saying("same"));
    await writeFile(inMods("marker.ts"), saying("marker"));
    await verdictOn(saying("marker"));
    expect(eventsAbout("same.ts")).toEqual(["modload", "verdict"]);
  });

  test.skipIf(!hasProcfs)("sleeps while nothing happens", async () => {
    const { pid } = watching.process;
    // It may have work left from before. A periodic timer, in whatever part of it, shows in every second.
    const hasSlept = async () => {
      const before = sleepsOf(pid);
      await Bun.sleep(1_000);
      return sleepsOf(pid) - before < 20;
    };
    await eventually("a second with few wake-ups", hasSlept, 10_000);
  });

  test("does not report files that are not modules", async () => {
    for (const name of [".hidden.ts", "_private.ts", "notes.txt", "types.d.ts", "lib/inner.ts"])
      await site.write(name, saying("nothing"));
    await writeFile(inMods("marker2.ts"), saying("marker2"));
    await verdictOn(saying("marker2"));
    const { stdout } = await site.call(["list"]);
    expect(stdout).not.toMatch(/hidden|private|notes|types|inner/);
    expect(watching.stdout.join("\n")).not.toMatch(/hidden|private|notes|types|inner/);
  });

  test("reports a broken edit, while the last good version keeps running", async () => {
    await writeFile(inMods("edit.ts"), saying("good"));
    await verdictOn(saying("good"));
    await writeFile(inMods("edit.ts"), "export const execute = async ( => 'broken';\n");
    const [event] = jsonLines(await watching.line('"event":"moderror","mod":"edit.ts"'));
    expect(event?.error).toContain("edit.ts");
    expect(await result("edit")).toBe("good\n");
    expect((await site.call(["verify", "edit"])).exitCode).toBe(0);

    await writeFile(inMods("edit.ts"), saying("better"));
    expect(await verdictOn(saying("better"))).toMatchObject({ verified: true, cause: "modreload" });
    expect(await result("edit")).toBe("better\n");
  });

  test("reports each of two hundred modules that are added at once, and removed at once", async () => {
    const names = Array.from({ length: 200 }, (_, index) => `many${index}.ts`);
    await Promise.all(names.map((name) => writeFile(inMods(name), saying(name))));
    const verdicts = () =>
      watching.stdout.filter((line) => line.includes('"event":"verdict"') && line.includes('"many'));
    await eventually("a verdict on each", () => verdicts().length >= names.length, 30_000);
    expect(new Set(jsonLines(verdicts().join("\n")).map(({ mod }) => mod))).toEqual(new Set(names));
    expect(verdicts().every((line) => line.includes('"verified":true'))).toBe(true);
    expect(await result("many137")).toBe("many137.ts\n");

    await Promise.all(names.map((name) => rm(inMods(name))));
    const gone = () => watching.stdout.filter((line) => line.includes('"event":"modunload","mod":"many'));
    await eventually("the removal of each", () => gone().length >= names.length, 30_000);
    expect(gone()).toHaveLength(names.length);
  }, 70_000);

  test("reports when mods/ is deleted, and when it is created again", async () => {
    await writeFile(inMods("phoenix.ts"), saying("before"));
    await verdictOn(saying("before"));
    await rm(join(site.path, "mods"), { recursive: true });
    await watching.line('"event":"modunload","mod":"phoenix.ts"');
    await mkdir(join(site.path, "mods"));
    await writeFile(inMods("phoenix.ts"), saying("after"));
    expect(await verdictOn(saying("after"))).toMatchObject({ verified: true, cause: "modload" });
    // The new folder is watched like the old one.
    await writeFile(inMods("phoenix.ts"), saying("again"));
    expect(await verdictOn(saying("again"))).toMatchObject({ verified: true, cause: "modreload" });
  });

  test("reports when a symbolic link points elsewhere", async () => {
    await site.write("_releases/1.ts", saying("release one"));
    await site.write("_releases/2.ts", saying("release two"));
    await symlink("_releases/1.ts", inMods("linked.ts"));
    await verdictOn(saying("release one"));
    await symlink("_releases/2.ts", inMods(".next"));
    await rename(inMods(".next"), inMods("linked.ts"));
    expect(await verdictOn(saying("release two"))).toMatchObject({ verified: true, cause: "modreload" });
  });
});

test("without --json each change is one readable line", async () => {
  const person = site.watch();
  await person.line(/^verified {2}hello\.ts|^verified {2}phoenix\.ts/);
  await writeFile(inMods("words.ts"), saying("words"));
  await person.line(/^modload {3}words\.ts +[0-9a-f]{16}$/);
  await person.line(/^verified {2}words\.ts +[0-9a-f]{16} {2}not approved$/);
  await rm(inMods("words.ts"));
  await person.line(/^modunload words\.ts$/);
  person.process.kill("SIGINT");
  expect(await person.ended()).toBe(130);
});

test("a client reconnects when its server restarts, and reports what has changed meanwhile", async () => {
  await using other = await Site.create({ "stays.ts": saying("stays"), "goes.ts": saying("goes") });
  const first = await other.start();
  const person = other.watch();
  const script = other.watch(["--json"]);
  await person.line(/^verified {2}stays\.ts/);
  await script.line(/"cause":"sync".*"stays\.ts"/);

  first.process.kill("SIGTERM");
  expect(await first.ended()).toBe(0);
  await person.line("The server is about to stop.");
  await person.line(/^Disconnected: .*Retrying in \d\.\d s\.$/);
  await script.line('"event":"drain"');
  await script.line(/"event":"disconnected".*"retry_ms":\d+/);

  await rm(join(other.path, "mods/goes.ts"));
  await other.write("comes.ts", saying("comes"));
  await other.write("hello.ts", saying("changed"));
  await other.start();
  const words = await person.line(/^Reconnected; /);
  expect(words).toBe("Reconnected; new comes.ts, changed hello.ts, removed goes.ts.");
  await person.line(/^verified {2}comes\.ts/);
  const [event] = jsonLines(await script.line('"event":"reconnected"'));
  expect(event).toMatchObject({
    added: [{ mod: "comes.ts" }],
    changed: [{ mod: "hello.ts", sum: sha256(saying("changed")) }],
    removed: ["goes.ts"],
  });
  await script.line(/"cause":"reconnected","verified":true.*"comes\.ts"/);
});

test("a client that is refused retries with growing pauses, one attempt at a time", async () => {
  await using other = await Site.create();
  await other.start();
  const script = other.watch(["--json"]);
  await script.line('"verified":true');
  await other.manage(["untrust", (await clientOf(other)).fingerprint]);
  const attempts = () =>
    jsonLines(script.stdout.join("\n")).flatMap(({ event, retry_ms }) =>
      event === "disconnected" ? [Number(retry_ms)] : [],
    );
  await eventually("four attempts", () => attempts().length >= 4, 10_000);
  const pauses = attempts().slice(0, 4);
  // Each between half and the whole of 250, 500, 1000 and 2000 ms.
  for (const [index, pause] of pauses.entries()) {
    expect(pause).toBeGreaterThanOrEqual(125 * 2 ** index);
    expect(pause).toBeLessThanOrEqual(250 * 2 ** index);
  }
});
