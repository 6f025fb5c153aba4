import type { RunnableVersion } from "../modules/runnable.ts";
import { reportOf } from "../modules/slot.ts";

/** What a version looks like on the wire, encoded once. */
export class VersionText {
  /** The version's entry in `sync_resp`. */
  readonly report: string;
  readonly #version: RunnableVersion;
  readonly #execHead: string;
  readonly #execTail: string;
  #verify: string | undefined;

  private constructor(version: RunnableVersion) {
    this.#version = version;
    this.report = JSON.stringify(reportOf(version));
    this.#execHead = ` {"mod":${JSON.stringify(version.mod)},"result":`;
    this.#execTail = `,"sum":"${version.sum}","tree":"${version.tree}"}\n`;
  }

  /** The line of an `exec_resp`, around the result that the module's process has encoded already. */
  answer(ref: string, resultJson: string): string {
    return `mod:exec_resp:${ref}${this.#execHead}${resultJson}${this.#execTail}`;
  }

  /** The payload of `verify_resp`: `{"mod","content","sum","desc","tree","files":[{"path","content","sum"}]}`. */
  get verify(): string {
    this.#verify ??= JSON.stringify({
      ...reportOf(this.#version),
      content: this.#version.source.entry.content,
      files: this.#version.source.files.map(({ path, content, sum }) => ({ path, content, sum })),
    });
    return this.#verify;
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
