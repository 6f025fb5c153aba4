import { ArgumentsError, type HostOutcome } from "../index.ts";
import { argumentRows } from "./argument-rows.ts";
import { table } from "./table.ts";
import { styled, text } from "./text.ts";
import { printErrors, printJson, printPart } from "./ui.ts";

/** A longer line is printed in pieces, so that a host that never ends one does not fill the memory. */
const maxLineLength = 65_536;

/** The output of `exec` on several hosts: lines that begin with their host, or one JSON object per part and outcome. */
export class HostsOutput {
  readonly #json: boolean;
  /** What each host has sent since its last line break. */
  readonly #unfinished = new Map<string, string>();

  constructor(json: boolean) {
    this.#json = json;
  }

  part(host: string, data: string): void {
    if (this.#json) printJson({ host, part: data });
    else this.#add(host, data);
  }

  outcome(outcome: HostOutcome): void {
    if (this.#json) {
      printJson(outcomeJson(outcome));
      return;
    }
    if (outcome.state === "done") this.#add(outcome.host, outcome.result.result);
    this.#end(outcome.host);
  }

  /** For a person, on standard error: which hosts failed, and why. */
  summary(outcomes: readonly HostOutcome[]): void {
    const failed = outcomes.filter((one) => one.state === "failed");
    if (this.#json || failed.length === 0) return;
    const title = text`${styled("red", "error")}: ${failed.length} of ${outcomes.length} hosts failed:`;
    const lines = table(failed.map(({ host, error }) => [host, error.message]));
    const spared = outcomes.filter(({ state }) => state === "not called");
    const rest =
      spared.length === 0
        ? []
        : [text`Nothing was called on the others. To call those that can be called, add --mixed.`];
    printErrors([title, ...lines.map((line) => text`  ${line}`), ...argumentTable(failed), ...rest]);
  }

  #add(host: string, data: string): void {
    const lines = `${this.#unfinished.get(host) ?? ""}${data}`.split("\n");
    const last = lines.pop() ?? "";
    this.#unfinished.set(host, last);
    this.#print(host, lines);
    if (last.length > maxLineLength) this.#end(host);
  }

  #end(host: string): void {
    const last = this.#unfinished.get(host) ?? "";
    this.#unfinished.delete(host);
    if (last !== "") this.#print(host, [last]);
  }

  #print(host: string, lines: readonly string[]): void {
    printPart(lines.map((line) => `${host}| ${line}\n`).join(""));
  }
}

function outcomeJson(outcome: HostOutcome): object {
  const { host, state } = outcome;
  if (outcome.state === "not called") return outcome;
  if (outcome.state === "done") return { host, state, ...outcome.result };
  const { message, code, started } = outcome.error;
  return { host, state, error: message, code, started };
}

/** Of the first host where the arguments did not fit the module's schema. */
function argumentTable(failed: readonly Extract<HostOutcome, { state: "failed" }>[]) {
  const error = failed.map((one) => one.error).find((one) => one instanceof ArgumentsError);
  return error === undefined ? [] : table(argumentRows(error.input)).map((line) => text`  ${line}`);
}
