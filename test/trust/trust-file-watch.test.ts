import { describe, expect, setSystemTime, test } from "bun:test";
import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  parseTrustedKeys,
  type TrustedKeys,
  type TrustedKeysWatch,
  watchTrustedKeys,
} from "../../src/trust/trusted-keys.ts";
import { trustText } from "../helpers/keys.ts";
import { eventually } from "../helpers/within.ts";
import { temporaryDirectory } from "../identity/temporary.ts";

/** Keys 1 to `count`. */
const keys = (count: number) =>
  trustText(...Array.from({ length: count }, (_, number) => number.toString(16).padStart(64, "0")));
const badEntry = '{"trusted_fingerprints": [1]}';

/** A watch and everything it has said. */
class Recorder implements Disposable {
  readonly sizes: number[] = [];
  readonly errors: string[] = [];
  readonly watch: TrustedKeysWatch;

  constructor(path: string, current?: TrustedKeys) {
    this.watch = watchTrustedKeys(path, {
      onChange: ({ size }) => this.sizes.push(size),
      onError: ({ message }) => this.errors.push(message),
      ...(current === undefined ? {} : { current }),
    });
  }

  /** Waits no longer than the second that is promised. */
  async size(expected: number): Promise<void> {
    await eventually(`${expected} trusted keys`, () => this.sizes.at(-1) === expected, 1_000);
  }

  async error(text: string): Promise<void> {
    await eventually(`the error '${text}'`, () => this.errors.at(-1)?.includes(text), 1_000);
  }

  [Symbol.dispose](): void {
    this.watch.close();
  }
}

describe("watching trusted-keys.json", () => {
  test("a change in place, a rename over it, and deleting and making it anew all arrive within a second", async () => {
    const path = join(temporaryDirectory(), "trusted-keys.json");
    writeFileSync(path, keys(1));
    using recorder = new Recorder(path);
    await recorder.size(1);
    writeFileSync(path, keys(2));
    await recorder.size(2);
    writeFileSync(`${path}.new`, keys(3));
    renameSync(`${path}.new`, path);
    await recorder.size(3);
    unlinkSync(path);
    writeFileSync(path, keys(4));
    await recorder.size(4);
    expect(recorder.errors).toEqual([]);
  });

  test("a symbolic link that is switched, and a directory that is made anew, arrive too", async () => {
    const dir = temporaryDirectory();
    for (const count of [1, 2]) {
      mkdirSync(join(dir, `v${count}`));
      writeFileSync(join(dir, `v${count}`, "trusted-keys.json"), keys(count));
    }
    symlinkSync("v1", join(dir, "current"));
    const path = join(dir, "current", "trusted-keys.json");
    using recorder = new Recorder(path);
    await recorder.size(1);
    symlinkSync("v2", join(dir, "next"));
    renameSync(join(dir, "next"), join(dir, "current"));
    await recorder.size(2);
    rmSync(join(dir, "v2"), { recursive: true });
    await recorder.error("does not exist");
    mkdirSync(join(dir, "v2"));
    writeFileSync(path, keys(5));
    await recorder.size(5);
  });

  test("two writes of one size in quick succession: the second one counts", async () => {
    const path = join(temporaryDirectory(), "trusted-keys.json");
    const [one, other] = ["a", "b"].map((digit) => trustText(digit.repeat(64)));
    let seen = "";
    writeFileSync(path, trustText());
    using watch = disposable(
      watchTrustedKeys(path, { onChange: ({ text }) => (seen = text), onError: () => {} }),
    );
    for (const text of [one, other, one, other]) {
      writeFileSync(path, text ?? "");
      await watch.check();
    }
    await eventually("the last text", () => seen === other, 1_000);
  });

  test("a bad file is reported once, the good one stands, and the next good one counts", async () => {
    const path = join(temporaryDirectory(), "trusted-keys.json");
    writeFileSync(path, keys(1));
    using recorder = new Recorder(path);
    await recorder.size(1);
    writeFileSync(path, badEntry);
    await recorder.error("trusted_fingerprints[0]: ");
    writeFileSync(path, "[");
    await recorder.error("line 1, column 2");
    for (let look = 0; look < 5; look++) await recorder.watch.check();
    expect(recorder.errors).toHaveLength(2);
    expect(recorder.sizes).toEqual([1]);
    writeFileSync(path, keys(2));
    await recorder.size(2);
    writeFileSync(path, badEntry);
    await recorder.error("trusted_fingerprints[0]: ");
    expect(recorder.errors).toHaveLength(3);
  });

  test("a good file that comes back after a bad one is no change", async () => {
    const path = join(temporaryDirectory(), "trusted-keys.json");
    writeFileSync(path, keys(1));
    using recorder = new Recorder(path, parseTrustedKeys(keys(1)));
    writeFileSync(path, "junk");
    await recorder.error("unexpected");
    writeFileSync(path, keys(1));
    await recorder.watch.check();
    await recorder.watch.check();
    expect(recorder.sizes).toEqual([]);
  });

  test("what the caller has read already is not reported again, anything else is", async () => {
    const path = join(temporaryDirectory(), "trusted-keys.json");
    writeFileSync(path, keys(2));
    using same = new Recorder(path, parseTrustedKeys(keys(2)));
    using stale = new Recorder(path, parseTrustedKeys(keys(1)));
    await stale.size(2);
    await same.watch.check();
    expect(same.sizes).toEqual([]);
  });

  test.skipIf(process.platform === "win32" || process.getuid?.() === 0)(
    "a file that can't be read is reported, and recovered from",
    async () => {
      const path = join(temporaryDirectory(), "trusted-keys.json");
      writeFileSync(path, keys(1));
      using recorder = new Recorder(path);
      await recorder.size(1);
      chmodSync(path, 0);
      await recorder.error("Cannot read");
      chmodSync(path, 0o600);
      writeFileSync(path, keys(2));
      await recorder.size(2);
    },
  );

  test("an entry that expires is reported in its time, and again when the clock is set back", async () => {
    const path = join(temporaryDirectory(), "trusted-keys.json");
    const fingerprint = "e".repeat(64);
    writeFileSync(path, trustText({ fingerprint, expires: "2100-01-01" }));
    using recorder = new Recorder(path);
    await recorder.size(1);
    expect(recorder.sizes).toHaveLength(1);
    try {
      setSystemTime(new Date("2100-01-01T00:00:00Z"));
      await recorder.watch.check();
      expect(recorder.sizes).toHaveLength(2);
      await recorder.watch.check();
      expect(recorder.sizes).toHaveLength(2);
      setSystemTime(new Date("2099-12-31T23:59:59Z"));
      await recorder.watch.check();
      expect(recorder.sizes).toHaveLength(3);
    } finally {
      setSystemTime();
    }
  });

  test("an entry that expires soon is reported by itself", async () => {
    const path = join(temporaryDirectory(), "trusted-keys.json");
    const expires = new Date(Date.now() + 300).toISOString();
    writeFileSync(path, trustText({ fingerprint: "e".repeat(64), expires }));
    using recorder = new Recorder(path);
    await eventually("the expiry", () => recorder.sizes.length === 2, 1_300);
  });

  test("nothing is reported after close", async () => {
    const path = join(temporaryDirectory(), "trusted-keys.json");
    writeFileSync(path, keys(1));
    using recorder = new Recorder(path);
    await recorder.size(1);
    recorder.watch.close();
    writeFileSync(path, keys(2));
    await recorder.watch.check();
    writeFileSync(path, badEntry);
    await recorder.watch.check();
    await recorder.watch.check();
    expect(recorder.sizes).toEqual([1]);
    expect(recorder.errors).toEqual([]);
  });
});

function disposable(watch: TrustedKeysWatch): TrustedKeysWatch & Disposable {
  return {
    check: () => watch.check(),
    recheck: () => watch.recheck(),
    close: () => watch.close(),
    [Symbol.dispose]: () => watch.close(),
  };
}
