import type {
  Approvals,
  ClientRotation,
  ModuleReport,
  RotatedServer,
  Verdict,
  VerifyOutcome,
  VeripyError,
  WatchEvent,
} from "../index.ts";
import { approvalJson, approvalText } from "./approval-text.ts";
import { execUsage } from "./argument-table.ts";
import { printList } from "./list.ts";
import { detailsJson, detailsText, permissionsTag } from "./module-details.ts";
import { outputColumns } from "./screen.ts";
import { outcomeJson, outcomeText, signedJson, signedText } from "./signature-text.ts";
import { tableRow } from "./table.ts";
import { shortId, styled, type Text, text } from "./text.ts";
import { note, outputIsTerminal, print, printAll, printJson } from "./ui.ts";
import { connectionText, eventJson, isOfConnection, type ModuleEvent } from "./watch-text.ts";

/** The output of the client's commands: short lines for a person, or one JSON object per line. */
export class ClientOutput {
  readonly #json: boolean;
  readonly #approvals: Approvals | undefined;
  readonly #names = new NameColumn();
  readonly #hasTimes: boolean;
  #hasSaidConsistent = false;
  #hasHeader = false;

  /**
   * With `approvals`, what was decided about each module is shown. With `times`, each line about a module begins with the
   * time on a terminal.
   */
  constructor(json = false, approvals?: Approvals, { times = false } = {}) {
    this.#json = json;
    this.#approvals = approvals;
    this.#hasTimes = times && outputIsTerminal();
  }

  /** With `outcomes`, a column says who signed each module. */
  list(
    reports: readonly ModuleReport[],
    approvals: Approvals,
    outcomes?: ReadonlyMap<string, VerifyOutcome>,
  ): void {
    if (this.#json) {
      for (const report of reports) {
        const signed = outcomes && outcomeJson(outcomes.get(report.mod));
        printJson({ ...report, ...approvalJson(approvals.of(report.mod)), ...signed });
      }
      return;
    }
    if (reports.length === 0) {
      note`The server has no modules.`;
      return;
    }
    const rows = reports.map((report) => [
      report.mod,
      idOf(report),
      approvalText(approvals.of(report.mod)),
      ...(outcomes === undefined ? [] : [outcomeText(outcomes.get(report.mod))]),
      shortText(report),
    ]);
    printList(
      ["name", "tree", "state", ...(outcomes === undefined ? [] : ["signature"]), "description"],
      rows,
    );
  }

  verdict(verdict: Verdict, { full = false }: { full?: boolean } = {}): void {
    if (this.#json) {
      printJson({ ...verdictJson(verdict), ...this.#stateJson(verdict) });
      return;
    }
    if (verdict.verified) {
      if (verdict.signed === undefined) this.#sayConsistent();
      const { mod, tree, files } = verdict;
      const state = this.#approvals && approvalText(this.#approvals.judge(verdict));
      const signed = verdict.signed && signedText(verdict.signed);
      if (full) this.#verdictHeader(tree.length, signed !== undefined);
      const before = text`${this.#time()}${styled("green", "verified")}  `;
      const states = [state, signed];
      print`${before}${this.#names.row(before.width, mod, full ? tree : shortId(tree), states, shortText(verdict))}`;
      // In the form that `sha256sum` prints, so that the two can be compared.
      if (full) for (const file of files) print`          ${file.sum}  ${file.path}`;
      return;
    }
    print`${this.#time()}${styled("red", "REJECTED")}  ${verdict.mod}`;
    for (const { what, by, expected, actual } of verdict.mismatches) {
      print`          ${what}\n            expected  ${expected} (from ${by})\n            got       ${actual}`;
    }
  }

  /** All that is known of a module; of one that was rejected, the verdict. */
  details(verdict: Verdict): void {
    if (!verdict.verified) this.verdict(verdict);
    else if (this.#json) printJson({ ...detailsJson(verdict), ...this.#stateJson(verdict) });
    else {
      const state = this.#approvals === undefined ? [] : [approvalText(this.#approvals.judge(verdict))];
      const rest = state.map((one) => text`  state         ${one}`);
      if (verdict.signed !== undefined) rest.push(text`  signature     ${signedText(verdict.signed)}`);
      const usage = text`${execUsage(verdict.mod, verdict.input)}`;
      printAll([text`${verdict.mod}  ${verdict.desc}`, usage, ...rest, ...detailsText(verdict)]);
    }
  }

  /** On a terminal, once, above the first verdict. */
  #verdictHeader(treeWidth: number, isSigned: boolean): void {
    if (this.#hasHeader || !outputIsTerminal()) return;
    this.#hasHeader = true;
    const states = [this.#approvals && text`state`, isSigned ? text`signature` : undefined];
    print`verdict   ${this.#names.row(10, "name", "tree".padEnd(treeWidth), states, text`description`)}`;
  }

  /** Says once that nothing of the server was approved, so that "verified" means only that the server agrees with itself. */
  #sayConsistent(): void {
    const approvals = this.#approvals;
    if (approvals === undefined || approvals.isGoverned || this.#hasSaidConsistent) return;
    this.#hasSaidConsistent = true;
    note`consistent, not approved: each module matches what the server reports, but none of them has been approved. See 'veripy-client approve'.`;
  }

  #stateJson(verdict: Verdict): object {
    if (!verdict.verified) return {};
    const state = this.#approvals === undefined ? {} : approvalJson(this.#approvals.judge(verdict));
    return { ...state, ...signedJson(verdict.signed) };
  }

  /** A module that could not be fetched. */
  unverified(mod: string, error: VeripyError, hint: string): void {
    const message = `${error.message}${hint}`;
    if (this.#json) printJson({ mod, verified: false, error: message, code: error.code });
    else note`${styled("red", "error")}: ${mod}: ${message}`;
  }

  connected(server: string, fingerprint: string): void {
    if (this.#json) printJson({ event: "connected", server, fingerprint });
    else note`Connected to ${server}, key ${shortId(fingerprint)}.`;
  }

  rotated(rotation: ClientRotation): void {
    if (this.#json) {
      printJson({ ...rotation, servers: rotation.servers.map(serverJson) });
      return;
    }
    for (const { server, state, error } of rotation.servers) {
      const why = error === undefined ? "" : `  ${error.message}`;
      print`${state.padEnd(9)}  ${server}${why}`;
    }
    for (const server of rotation.leftOut) print`not told   ${server}`;
    if (rotation.done) {
      print`\nThis client's key is now ${rotation.new}; the previous key is kept as client.key.old.`;
      if (rotation.leftOut.length > 0) {
        print`On each server that was not told, type: veripy-server trust ${rotation.new}`;
      }
      return;
    }
    print`\nThe key was not changed, because not every server accepts the new one yet. Run the command again later, name`;
    print`one server with --host, or type on each server that failed: veripy-server trust ${rotation.new}`;
  }

  /** One line for each broadcast, verdict and change of the connection. */
  event(event: WatchEvent): void {
    if (!this.#json) this.#eventText(event);
    else if (event.event === "verdict") {
      const { cause, verdict } = event;
      printJson({ event: "verdict", cause, ...verdictJson(verdict), ...this.#stateJson(verdict) });
    } else printJson(eventJson(event));
  }

  #eventText(event: WatchEvent): void {
    if (event.event === "verdict") this.verdict(event.verdict);
    else if (isOfConnection(event)) note`${this.#time()}${connectionText(event)}`;
    else print`${this.#time()}${this.#moduleText(event)}`;
  }

  /** The local time, `HH:MM:SS`. */
  #time(): Text {
    return this.#hasTimes ? text`${styled("gray", new Date().toTimeString().slice(0, 8))} ` : text``;
  }

  #moduleText(event: ModuleEvent): Text {
    const tag = event.event.padEnd(9);
    switch (event.event) {
      case "modload":
      case "modreload": {
        const { report } = event;
        const before = this.#time().width + tag.length + 1;
        const row = this.#names.row(before, report.mod, idOf(report), [], shortText(report));
        return text`${styled("cyan", tag)} ${row}`;
      }
      case "pending": {
        const { mod, approval } = event;
        const what = approval.changed.join(", ");
        return text`${styled("yellow", tag)} ${mod}: ${what}. See 'veripy-client diff ${mod}'.`;
      }
      case "catalogue":
        return "error" in event
          ? text`${styled("red", "REFUSED  ")} ${event.error.message}`
          : text`${styled("cyan", tag)} ${event.signature.name}: ${signedText(event.signature)}`;
      case "modunload":
        return text`${styled("cyan", tag)} ${event.mod}`;
      case "moderror":
        return text`${styled("red", tag)} ${event.mod}: ${event.error}`;
      case "unverified":
        return text`${styled("red", "UNKNOWN  ")} ${event.mod}: ${event.error.message}`;
    }
  }
}

/** Of `not approved`. What has changed in a pending module may take more. */
const stateWidth = 12;

/** Aligns lines that are printed one at a time: the column is as wide as the widest name so far. */
class NameColumn {
  #width = 16;

  /** `before` is the width of what stands before it in its line. */
  row(before: number, name: string, id: string, states: readonly (Text | undefined)[], desc: Text): Text {
    // A name of more than 40 columns does not move the lines that follow.
    this.#width = Math.min(40, Math.max(this.#width, text`${name}`.width));
    const shown = states.filter((state) => state !== undefined);
    const widths = [this.#width, id.length, ...shown.map(() => stateWidth)];
    return tableRow([name, id, ...shown, desc], widths, outputColumns() - before);
  }
}

/** A version is shown by its tree. A server of the plain protocol reports only the sum of the module's file. */
function idOf({ tree, sum }: ModuleReport): string {
  return tree === undefined ? `sum:${shortId(sum)}` : shortId(tree);
}

/** What a line of a list says of a module. */
function shortText({ desc, permissions }: Pick<ModuleReport, "desc" | "permissions">): Text {
  return text`${permissionsTag(permissions)}${desc ?? ""}`;
}

/** A verdict without the source, which only the library gives. */
function verdictJson(verdict: Verdict): object {
  if (!verdict.verified) return verdict;
  return { ...verdict, ...detailsJson(verdict) };
}

function serverJson({ server, state, error }: RotatedServer): object {
  return { server, state, ...(error === undefined ? {} : { error: error.message, code: error.code }) };
}
