import { messageOf, VeripyError } from "../base/errors.ts";
import { snakeKeys } from "../base/snake-case.ts";
import { reportOf } from "../modules/module-slot.ts";
import type { RunnableVersion } from "../modules/module-version.ts";
import { type ExecAnswerForm, encodeExecAnswer, execAnswerForm } from "../protocol/exec-codec.ts";
import type { ModuleReport } from "../protocol/messages.ts";

/** `{"mod","desc","sum","tree","input"?,"permissions","described_by"}`. */
export function encodeReport(report: ModuleReport): string {
  return JSON.stringify(snakeKeys(report));
}

/** What a version looks like on the wire, encoded once. */
export class VersionText {
  /** The version's entry in `sync_resp`. */
  readonly report: string;
  readonly #version: RunnableVersion;
  readonly #answerForm: ExecAnswerForm;
  #verify: string | undefined;

  private constructor(version: RunnableVersion) {
    this.#version = version;
    this.report = encodeReport(reportOf(version));
    this.#answerForm = execAnswerForm(version);
  }

  /** The line of an `exec_resp`, around the result that the module's process has encoded already. */
  answer(ref: string, resultJson: string): string {
    return encodeExecAnswer(ref, this.#answerForm, resultJson);
  }

  /** The payload of `verify_resp`: the fields of the report, `"content"` and `"files":[{"path","content","sum"}]`. */
  get verify(): string {
    // On demand, because it holds a second copy of all the module's texts. Kept, because every client asks for it after an
    // edit: without it, the server spends 1.3 times as long on an answer of 2 KiB, and 1.9 times on one of 54 KiB.
    // Encoding strings cannot fail.
    this.#verify ??= this.#encodeVerify();
    return this.#verify;
  }

  #encodeVerify(): string {
    const { entry, files } = this.#version.source;
    const texts = JSON.stringify({
      content: entry.content,
      files: files.map(({ path, content, sum }) => ({ path, content, sum })),
    });
    return `${this.report.slice(0, -1)},${texts.slice(1)}`;
  }

  static readonly #texts = new WeakMap<RunnableVersion, VersionText>();

  static of(version: RunnableVersion): VersionText {
    let text = VersionText.#texts.get(version);
    if (text === undefined) {
      text = new VersionText(version);
      VersionText.#texts.set(version, text);
    }
    return text;
  }
}

/** Encodes what clients are told about a version without a process. Throws when that fails. */
export function encodeListed<T extends RunnableVersion>(version: T | undefined): T | undefined {
  if (version !== undefined) VersionText.of(version);
  return version;
}

/**
 * Encodes what clients are told about a version that has just been loaded. If that fails, the version is stopped and has
 * failed to load: rejects with `bad_module`.
 */
export async function encodeLoaded<T extends RunnableVersion>(version: T): Promise<T> {
  try {
    VersionText.of(version);
    return version;
  } catch (error) {
    await version.stop();
    const what = `${version.mod}: its description or input schema cannot be encoded`;
    throw new VeripyError("bad_module", `${what}.`, { cause: error, detail: `${what}: ${messageOf(error)}` });
  }
}
