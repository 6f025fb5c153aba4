import { chmod, lstat, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { makeHome, printable, reasonOf, VeripyError } from "../index.ts";

const maxLines = 1_000;
/** A longer line is not kept. */
const maxLineLength = 4_096;
/** Of all lines, if each has the most bytes that a line can have. */
const maxFileBytes = maxLines * (3 * maxLineLength + 1);

/** The lines that were typed in a client's shell, oldest first, in `HOME/shell_history`. */
export class ShellHistory {
  readonly #home: string;
  readonly #file: string;

  constructor(home: string) {
    this.#home = home;
    this.#file = join(home, "shell_history");
  }

  /** Empty without a file. Throws `bad_config` when it can't be read. */
  async read(): Promise<string[]> {
    try {
      const found = await lstat(this.#file).catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return undefined;
        throw error;
      });
      if (found === undefined) return [];
      if (!found.isFile()) throw new Error("it is not a file");
      if (found.size > maxFileBytes) throw new Error(`it is larger than ${maxFileBytes} bytes`);
      const lines = (await Bun.file(this.#file).text()).split("\n");
      // A folder that was copied from elsewhere may bring such a file, so its lines are shown only if they are harmless.
      return lines.filter((line) => line !== "" && printable(line, "\t") === line).slice(-maxLines);
    } catch (error) {
      throw failure("read", this.#file, error);
    }
  }

  /** Adds a line to what the file has now: another shell may have added its own. Throws `bad_config` when it can't. */
  async add(line: string): Promise<void> {
    const before = await this.read();
    const after = withLine(before, line);
    if (after === before) return;
    const temporary = `${this.#file}.${process.pid}.tmp`;
    try {
      await makeHome(this.#home);
      await rm(temporary, { force: true });
      await writeFile(temporary, after.map((one) => `${one}\n`).join(""), { mode: 0o600, flag: "wx" });
      await chmod(temporary, 0o600);
      await rename(temporary, this.#file);
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {});
      throw failure("write", this.#file, error);
    }
  }
}

/**
 * The history with one more line, and at most 1,000 in all. The same history for a line that is not kept: one that is empty,
 * begins with a space, repeats the last one, or has characters that can't be shown. Pure.
 */
export function withLine(history: string[], line: string): string[] {
  const isKept =
    line !== "" && !line.startsWith(" ") && line !== history.at(-1) && line.length <= maxLineLength;
  return isKept && printable(line, "\t") === line ? [...history, line].slice(-maxLines) : history;
}

function failure(what: string, file: string, error: unknown): VeripyError {
  return new VeripyError("bad_config", `Cannot ${what} the history ${file}: ${reasonOf(error)}.`, {
    cause: error,
  });
}
