import { describe, expect, test } from "bun:test";
import { type FSWatcher, watch } from "node:fs";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type ChangeHint,
  ModsWatcher,
  type OpenWatch,
  type WatchTiming,
} from "../../src/source/mods-watcher.ts";
import { ModsDir } from "../helpers/mods-dir.ts";
import { eventually } from "../helpers/within.ts";

/** A watcher whose hints are kept; `using` closes it. */
class Watched implements Disposable {
  readonly hints: ChangeHint[] = [];
  readonly #watcher: ModsWatcher;

  private constructor(path: string, timing: Partial<WatchTiming>, openWatch?: OpenWatch) {
    const all = { pollMs: 60_000, soonMs: 50, ...timing };
    this.#watcher = new ModsWatcher(path, (hint) => this.hints.push(hint), all, openWatch);
  }

  static async start(
    path: string,
    timing: Partial<WatchTiming> = {},
    openWatch?: OpenWatch,
  ): Promise<Watched> {
    const watched = new Watched(path, timing, openWatch);
    await watched.#watcher.start();
    return watched;
  }

  names(path: string): boolean {
    return this.hints.some((hint) => hint !== "anything" && hint.has(path));
  }

  async until(path: string): Promise<void> {
    await eventually(`a hint at ${path}`, () => this.names(path));
  }

  async untilAnything(): Promise<void> {
    await eventually("a hint at anything", () => this.hints.includes("anything"));
  }

  pollSoon(): void {
    this.#watcher.pollSoon();
  }

  rest(ms: number): void {
    this.#watcher.rest(ms);
    this.hints.length = 0;
  }

  close(): void {
    this.#watcher.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

describe("a change is hinted at by its path", () => {
  const changes: Record<string, [path: string, change: (mods: ModsDir) => Promise<void>]> = {
    "a new file": ["new.ts", (mods) => mods.write("new.ts", "")],
    "a file written in place": ["a.ts", (mods) => mods.write("a.ts", "// 2")],
    "a file renamed over": ["a.ts", (mods) => mods.replace("a.ts", "// 2")],
    "a file removed": ["a.ts", (mods) => mods.remove("a.ts")],
    "a file renamed": ["b.ts", (mods) => rename(mods.at("a.ts"), mods.at("b.ts"))],
    "a file in a subfolder": ["lib/deep/x.ts", (mods) => mods.write("lib/deep/x.ts", "// 2")],
    "a file in a subfolder that is new": ["new/deep/x.ts", (mods) => mods.write("new/deep/x.ts", "")],
    "a symbolic link": ["link.ts", (mods) => mods.link("a.ts", "link.ts")],
  };
  for (const [what, [path, change]] of Object.entries(changes)) {
    test(what, async () => {
      await using mods = await ModsDir.create({ "a.ts": "// 1", "lib/deep/x.ts": "// 1" });
      using watched = await Watched.start(mods.path);
      await change(mods);
      await watched.until(path);
    });
  }

  test("later changes in a subfolder that was made after the start", async () => {
    await using mods = await ModsDir.create();
    using watched = await Watched.start(mods.path);
    await mods.write("lib/x.ts", "// 1");
    await watched.until("lib/x.ts");
    await writesAreNoticed(mods, watched, "lib/x.ts");
  });
});

test("events that come together are one hint", async () => {
  await using mods = await ModsDir.create();
  let event: ((event: string, path: string) => void) | undefined;
  using watched = await Watched.start(mods.path, {}, (path, options, listener) => {
    event = listener;
    return watch(path, options, listener);
  });
  for (const path of ["a.ts", "lib\\b.ts", "a.ts"]) event?.("change", path);
  await watched.until("a.ts");
  expect(watched.hints).toEqual([new Set(["a.ts", "lib/b.ts"])]);
});

test("500 files at once are all hinted at", async () => {
  await using mods = await ModsDir.create();
  using watched = await Watched.start(mods.path);
  const names = Array.from({ length: 500 }, (_, index) => `m${index}.ts`);
  await Promise.all(names.map((name) => mods.write(name, "// x")));
  for (const name of names) await watched.until(name);
});

describe("the poll", () => {
  test("reports regularly that anything may have changed", async () => {
    await using mods = await ModsDir.create();
    using watched = await Watched.start(mods.path, { pollMs: 5 });
    for (let round = 0; round < 3; round++) {
      watched.hints.length = 0;
      await watched.untilAnything();
    }
  });

  test("comes soon when asked for, and asking again does not delay it", async () => {
    await using mods = await ModsDir.create();
    using watched = await Watched.start(mods.path, { pollMs: 60_000, soonMs: 30 });
    const asking = setInterval(() => watched.pollSoon(), 5);
    await watched.untilAnything().finally(() => clearInterval(asking));
  });

  test("reports nothing while it rests, and then goes on", async () => {
    await using mods = await ModsDir.create();
    using watched = await Watched.start(mods.path, { pollMs: 5 });
    await watched.untilAnything();
    const beganAt = performance.now();
    watched.rest(200);
    await watched.untilAnything();
    expect(performance.now() - beganAt).toBeGreaterThanOrEqual(200);
  });

  test("notices a new folder while it rests, and ends the rest when asked for", async () => {
    await using mods = await ModsDir.create();
    using watched = await Watched.start(mods.path, { pollMs: 5, soonMs: 5 });
    watched.rest(60_000);
    watched.pollSoon();
    await watched.untilAnything();
    watched.rest(60_000);
    await rename(mods.path, join(mods.outside, "aside"));
    await mkdir(mods.path);
    await watched.untilAnything();
  });

  test("does not rest while nothing is watched", async () => {
    await using mods = await ModsDir.create();
    const refuse: OpenWatch = () => {
      throw new Error("refused");
    };
    using watched = await Watched.start(mods.path, { pollMs: 5 }, refuse);
    watched.rest(60_000);
    await watched.untilAnything();
  });

  test("watches a folder that appears after the start", async () => {
    await using mods = await ModsDir.create();
    await rm(mods.path, { recursive: true });
    using watched = await Watched.start(mods.path, { pollMs: 10 });
    await mkdir(mods.path);
    await writesAreNoticed(mods, watched);
  });

  test("watches the folder that replaces one that was deleted or renamed", async () => {
    await using mods = await ModsDir.create({ "lib/x.ts": "" });
    using watched = await Watched.start(mods.path, { pollMs: 10 });
    await rm(mods.path, { recursive: true });
    await mkdir(mods.path);
    await writesAreNoticed(mods, watched);
    await rename(mods.path, join(mods.outside, "aside"));
    await mkdir(mods.path);
    await writesAreNoticed(mods, watched);
  });

  test("comes soon after the folder itself is gone, because it may be about to be replaced", async () => {
    await using mods = await ModsDir.create();
    using watched = await Watched.start(mods.path, { pollMs: 60_000, soonMs: 20 });
    await rename(mods.path, join(mods.outside, "aside"));
    await watched.untilAnything();
    await mkdir(mods.path);
    await writesAreNoticed(mods, watched);
  });
});

describe("a watch that the system refuses", () => {
  const noSpace = Object.assign(new Error("ENOSPC: System limit for number of file watchers reached"), {
    code: "ENOSPC",
  });

  test("leaves polling, and is tried again", async () => {
    await using mods = await ModsDir.create();
    let attempts = 0;
    using watched = await Watched.start(mods.path, { pollMs: 10 }, (...rest) => {
      if (++attempts <= 3) throw noSpace;
      return watch(...rest);
    });
    await watched.untilAnything();
    expect(attempts).toBeLessThanOrEqual(3);
    await writesAreNoticed(mods, watched);
    expect(attempts).toBe(4);
  });

  test("after it was open is replaced too", async () => {
    await using mods = await ModsDir.create();
    const opened: FSWatcher[] = [];
    using watched = await Watched.start(mods.path, { pollMs: 10 }, (...rest) => {
      opened.push(watch(...rest));
      return opened.at(-1) as FSWatcher;
    });
    opened[0]?.emit("error", noSpace);
    await eventually("a second watch", () => opened.length === 2);
    await writesAreNoticed(mods, watched);
  });
});

test("after close nothing is reported, and closing twice is harmless", async () => {
  await using mods = await ModsDir.create();
  const watched = await Watched.start(mods.path, { pollMs: 5 });
  using other = await Watched.start(mods.path);
  await mods.write("a.ts", "");
  watched.close();
  watched.close();
  const { length } = watched.hints;
  await mods.write("b.ts", "");
  await other.until("b.ts");
  expect(watched.hints.length).toBe(length);
});

/** A new watch opens at some time: a file is written until that is noticed. */
async function writesAreNoticed(mods: ModsDir, watched: Watched, path = "probe.ts"): Promise<void> {
  let count = 0;
  watched.hints.length = 0;
  await eventually(`a hint at ${path}`, async () => {
    await writeFile(mods.at(path), `// ${count++}`);
    return watched.names(path);
  });
}
