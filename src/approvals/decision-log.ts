import { appendFile, mkdir, rename, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { VeripyError } from "../base/errors.ts";
import { withFileLock } from "../base/file-lock.ts";
import { readTextIfThere } from "../base/files.ts";
import { reasonOf } from "../base/plain-reason.ts";

/** At this size the file becomes `log.jsonl.1`, and what was there before is removed. */
const maxLogBytes = 8 * 1024 * 1024;

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

/** What a client's user saw and decided: `log.jsonl` in the home, one JSON object a line, only ever added to. */
export class DecisionLog {
  readonly path: string;
  readonly #by: string;

  constructor(path: string, by: string) {
    this.path = path;
    this.#by = by;
  }

  /** Adds records. Throws `bad_config` when the file can't be written. */
  async add(records: readonly Omit<DecisionRecord, "at" | "by">[], at = now()): Promise<void> {
    if (records.length === 0) return;
    const lines = records.map((one) => `${JSON.stringify({ at, by: this.#by, ...one })}\n`).join("");
    try {
      await mkdir(dirname(this.path), { recursive: true, mode: 0o700 });
      await withFileLock(this.path, async () => {
        const status = await stat(this.path).catch(() => undefined);
        if ((status?.size ?? 0) > maxLogBytes) await rename(this.path, `${this.path}.1`);
        await appendFile(this.path, lines, { mode: 0o600 });
      });
    } catch (error) {
      if (error instanceof VeripyError) throw error;
      throw new VeripyError("bad_config", `Cannot write ${this.path}: ${reasonOf(error)}.`, { cause: error });
    }
  }

  /** All records, oldest first. Lines that are no records are left out: a crash may have cut one short. */
  async read(): Promise<DecisionRecord[]> {
    const records: DecisionRecord[] = [];
    for (const path of [`${this.path}.1`, this.path]) {
      let text: string | undefined;
      try {
        text = await readTextIfThere(path, 2 * maxLogBytes);
      } catch (error) {
        throw new VeripyError("bad_config", `Cannot read ${path}: ${reasonOf(error)}.`, { cause: error });
      }
      for (const line of (text ?? "").split("\n")) {
        const parsed = record.safeParse(jsonOf(line));
        if (parsed.success) records.push(parsed.data);
      }
    }
    return records;
  }
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
