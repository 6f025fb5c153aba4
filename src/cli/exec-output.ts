import type { ExecProgress, ExecResult } from "../index.ts";
import { OutputFile } from "./output-file.ts";
import { progressLine } from "./progress-line.ts";
import { endOutputLine, endStatus, printData, printJson, printPart, printRaw, showStatus } from "./ui.ts";

export interface ExecOutputOptions {
  readonly json?: boolean | undefined;
  /** Exactly as received, even on a terminal. */
  readonly raw?: boolean | undefined;
  /** Exactly as received, into this file; `-` is standard output. */
  readonly output?: string | undefined;
  /** No progress. */
  readonly quiet?: boolean | undefined;
}

/**
 * The output of `exec`: a stream exactly as it arrives, a plain result as lines, and progress on a terminal. With
 * `json`, one object per line. Create it with `open`, call `result` if the call succeeds, and `close` in any case.
 */
export class ExecOutput {
  readonly #json: boolean;
  readonly #raw: boolean;
  readonly #file: OutputFile | undefined;
  readonly #output: string | undefined;
  readonly #isQuiet: boolean;
  #isStream = false;
  /** The first half of a surrogate pair; the next part begins with the other half. */
  #held = "";

  private constructor(
    { json = false, raw = false, output, quiet = false }: ExecOutputOptions,
    file?: OutputFile,
  ) {
    this.#json = json;
    this.#raw = raw || output !== undefined;
    this.#output = output;
    this.#isQuiet = quiet;
    this.#file = file;
  }

  /** Opens the file first, so that no module runs whose result cannot be written. */
  static async open(options: ExecOutputOptions): Promise<ExecOutput> {
    const { output } = options;
    return new ExecOutput(
      options,
      output === undefined || output === "-" ? undefined : await OutputFile.open(output),
    );
  }

  part(data: string): void {
    this.#isStream = true;
    if (this.#json && this.#file === undefined) printJson({ part: data });
    else this.#streamed(data);
  }

  progress({ fraction, message }: ExecProgress): void {
    if (this.#isQuiet) return;
    if (this.#json) printJson({ progress: { fraction, message } });
    else showStatus((columns) => progressLine({ fraction, message }, columns));
  }

  async result(result: ExecResult): Promise<void> {
    endStatus();
    if (this.#file !== undefined) {
      this.#streamed(result.result, true);
      await this.#file.commit();
      const { result: _, ...rest } = result;
      if (this.#json) printJson({ ...rest, output: this.#output });
    } else if (this.#json) printJson(result);
    else if (this.#isStream || this.#raw) this.#streamed(result.result, true);
    else if (result.result !== "") printData(result.result);
  }

  close(): void {
    endStatus();
    if (!this.#raw) endOutputLine();
    this.#file?.discard();
  }

  #streamed(data: string, isLast = false): void {
    const all = this.#held + data;
    const isCut = !isLast && /[\ud800-\udbff]$/.test(all);
    this.#held = isCut ? all.slice(-1) : "";
    const whole = isCut ? all.slice(0, -1) : all;
    if (this.#file !== undefined) this.#file.write(whole);
    else if (this.#raw) printRaw(whole);
    else printPart(whole);
  }
}
