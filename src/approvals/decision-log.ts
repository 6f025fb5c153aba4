import { mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { messageOf, VeripyError } from "../base/errors.ts";
import { withFileLock } from "../base/file-lock.ts";
import { readTextIfThere, writeFileAtomic } from "../base/files.ts";
import { loggerOf } from "../base/log.ts";
import { reasonOf } from "../base/plain-reason.ts";

const log = loggerOf("approvals");

/** Beyond this size, what was seen first is removed. Decisions stay, since a server can make a client see much. */
const maxLogBytes = 8 * 1024 * 1024;
/** A batch is never larger: it holds at most `maxBatch` records. */
const maxReadBytes = 4 * maxLogBytes;
const maxBatch = 10_000;

const record = z.object({
  at: z.string().max(64),
  event: z.enum(["seen", "approved", "unapproved", "denied", "rotated"]),
  /** The SHA-256 of the server's public key. */
  server: z.string().max(64),
  address: z.string().max(300),
  /** Missing for `rotated`, which has `next` instead: the key that the server's key signed. */
  mod: z.string().max(255).optional(),
  tree: z.string().max(64).optional(),
  next: z.string().max(64).optional(),
  by: z.string().max(256),
  note: z.string().max(1_000).optional(),
  /** The `veripy.lock` that was changed. */
  lock: z.string().max(4096).optional(),
});
/** One line of the log. A version is seen when it is first fetched and verified. */
export type DecisionRecord = z.infer<typeof record>;

/** What a client's user saw and decided: `log.jsonl` in the home, one JSON object a line. */
export class DecisionLog {
  readonly path: string;
  readonly #by: string;

  constructor(path: string, by: string) {
    this.path = path;
    this.#by = by;
  }

  /** Adds records of what has already happened: that they can't be written is only a warning. */
  async tryAdd(records: readonly Omit<DecisionRecord, "at" | "by">[]): Promise<void> {
    await this.add(records).catch((error) => log.warn("{error}", { error: messageOf(error) }));
  }

  /** Adds records, of very many the last. Throws `bad_config` when the file can't be written. */
  async add(records: readonly Omit<DecisionRecord, "at" | "by">[], at = now()): Promise<void> {
    if (records.length === 0) return;
    const lines = records.slice(-maxBatch).map((one) => `${JSON.stringify({ at, by: this.#by, ...one })}\n`);
    try {
      await mkdir(dirname(this.path), { recursive: true, mode: 0o700 });
      await withFileLock(this.path, async () => {
        const bytes = await append(this.path, lines.join(""));
        if (bytes > maxLogBytes) await this.#shorten();
      });
    } catch (error) {
      if (error instanceof VeripyError) throw error;
      throw new VeripyError("bad_config", `Cannot write ${this.path}: ${reasonOf(error)}.`, { cause: error });
    }
  }

  /** All records, oldest first. Lines that are no records are left out: a crash may have cut one short. */
  async read(): Promise<DecisionRecord[]> {
    return (await this.#lines()).flatMap((line) => recordOf(line) ?? []);
  }

  /** Which keys of servers were followed by which. */
  async rotations(): Promise<DecisionRecord[]> {
    const lines = (await this.#lines()).filter((line) => line.includes('"rotated"'));
    return lines.flatMap((line) => recordOf(line) ?? []).filter(({ event }) => event === "rotated");
  }

  async #lines(): Promise<string[]> {
    try {
      return ((await readTextIfThere(this.path, maxReadBytes)) ?? "").split("\n");
    } catch (error) {
      throw new VeripyError("bad_config", `Cannot read ${this.path}: ${reasonOf(error)}.`, { cause: error });
    }
  }

  async #shorten(): Promise<void> {
    let leftBytes = maxLogBytes / 2;
    const kept = (await this.#lines()).reverse().filter((line) => {
      const found = recordOf(line);
      if (found?.event !== "seen") return found !== undefined;
      leftBytes -= Buffer.byteLength(line) + 1;
      return leftBytes >= 0;
    });
    await writeFileAtomic(
      this.path,
      kept
        .reverse()
        .map((line) => `${line}\n`)
        .join(""),
      0o600,
    );
  }
}

/** Returns the file's new size. A line that a full disk cut short gets an end first, so that the next one is whole. */
async function append(path: string, lines: string): Promise<number> {
  const file = await open(path, "a+", 0o600);
  try {
    const { size } = await file.stat();
    const last = size === 0 ? "\n" : (await file.read(Buffer.alloc(1), 0, 1, size - 1)).buffer.toString();
    const text = last === "\n" ? lines : `\n${lines}`;
    await file.writeFile(text);
    return size + Buffer.byteLength(text);
  } finally {
    await file.close();
  }
}

function recordOf(line: string): DecisionRecord | undefined {
  return record.safeParse(jsonOf(line)).data;
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** The current time in UTC, in whole seconds: `2026-11-24T10:00:00Z`. */
export function now(): string {
  return `${new Date().toISOString().slice(0, 19)}Z`;
}
