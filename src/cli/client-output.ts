import {
  type ClientRotation,
  type ModuleReport,
  type RotatedServer,
  type SandboxStatus,
  type StatsResponse,
  snakeKeys,
  type Verdict,
  type VeripyError,
  type WatchEvent,
} from "../index.ts";
import { execUsage } from "./argument-table.ts";
import { detailsJson, detailsText, permissionsTag } from "./module-details.ts";
import { table, tableRow } from "./table.ts";
import { shortId, styled, type Text, text } from "./text.ts";
import { note, print, printAll, printJson } from "./ui.ts";

/** The output of the client's commands: short lines for a person, or one JSON object per line. */
export class ClientOutput {
  readonly #json: boolean;
  readonly #names = new NameColumn();

  constructor(json = false) {
    this.#json = json;
  }

  list(reports: readonly ModuleReport[]): void {
    if (this.#json) {
      for (const report of reports) printJson(report);
      return;
    }
    if (reports.length === 0) note`The server has no modules.`;
    printAll(table(reports.map((report) => [report.mod, idOf(report), shortText(report)])));
  }

  verdict(verdict: Verdict, { full = false }: { full?: boolean } = {}): void {
    if (this.#json) {
      printJson(verdictJson(verdict));
      return;
    }
    if (verdict.verified) {
      const { mod, tree, files } = verdict;
      const row = this.#names.row(mod, full ? tree : shortId(tree), shortText(verdict));
      print`${styled("green", "verified")}  ${row}`;
      // In the form that `sha256sum` prints, so that the two can be compared.
      if (full) for (const file of files) print`          ${file.sum}  ${file.path}`;
      return;
    }
    print`${styled("red", "REJECTED")}  ${verdict.mod}`;
    for (const { what, by, expected, actual } of verdict.mismatches) {
      print`          ${what}\n            expected  ${expected} (from ${by})\n            got       ${actual}`;
    }
  }

  /** All that is known of a module; of one that was rejected, the verdict. */
  details(verdict: Verdict): void {
    if (!verdict.verified) this.verdict(verdict);
    else if (this.#json) printJson(detailsJson(verdict));
    else {
      const usage = text`${execUsage(verdict.mod, verdict.input)}`;
      printAll([text`${verdict.mod}  ${verdict.desc}`, usage, ...detailsText(verdict)]);
    }
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
    if (this.#json) printJson(eventJson(event));
    else this.#eventText(event);
  }

  #eventText(event: WatchEvent): void {
    if (event.event === "verdict") this.verdict(event.verdict);
    else if (isOfConnection(event)) note`${connectionText(event)}`;
    else print`${this.#moduleText(event)}`;
  }

  #moduleText(event: ModuleEvent): Text {
    const tag = event.event.padEnd(9);
    switch (event.event) {
      case "modload":
      case "modreload": {
        const { report } = event;
        return text`${styled("cyan", tag)} ${this.#names.row(report.mod, idOf(report), shortText(report))}`;
      }
      case "modunload":
        return text`${styled("cyan", tag)} ${event.mod}`;
      case "moderror":
        return text`${styled("red", tag)} ${event.mod}: ${event.error}`;
      case "unverified":
        return text`${styled("red", "UNKNOWN  ")} ${event.mod}: ${event.error.message}`;
    }
  }

  stats({ modules, sandbox }: StatsResponse): void {
    if (this.#json) {
      for (const one of modules) printJson(one);
      if (sandbox !== undefined) printJson({ sandbox });
      return;
    }
    const header = [
      "module",
      "version",
      "state",
      "pid",
      "memory",
      "calls",
      "failed",
      "restarts",
      "p50",
      "p99",
    ];
    const rows = modules.map((one) => [
      one.mod,
      shortId(one.tree) + (one.current ? "" : " (old)"),
      one.state,
      one.pid ?? "-",
      one.memoryBytes === undefined ? "-" : `${(one.memoryBytes / 1024 ** 2).toFixed(1)} MiB`,
      one.calls,
      one.failures,
      one.restarts,
      milliseconds(one.p50Ms),
      milliseconds(one.p99Ms),
    ]);
    printAll(table([header, ...rows]));
    if (sandbox?.enforced === false) note`${styled("red", "warning")}: ${unenforcedText(sandbox)}`;
  }
}

function unenforcedText({ mode, abi }: SandboxStatus): string {
  const kernel = abi === 0 ? "without Landlock" : `with Landlock ABI ${abi}`;
  return `The server does not hold modules to all their permissions: its sandbox is '${mode}', on a system ${kernel}.`;
}

/** Aligns lines that are printed one at a time: the column is as wide as the widest name so far. */
class NameColumn {
  #width = 16;

  row(name: string, id: string, desc: Text): Text {
    // A name of more than 40 columns does not move the lines that follow.
    this.#width = Math.min(40, Math.max(this.#width, text`${name}`.width));
    return tableRow([name, id, desc], [this.#width]);
  }
}

/** Three significant digits, without an exponent. */
function milliseconds(value: number | undefined): string {
  if (value === undefined) return "-";
  const decimals = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3;
  return `${value.toFixed(decimals)} ms`;
}

/** A version is shown by its tree. A server of the plain protocol reports only the sum of the module's file. */
function idOf({ tree, sum }: ModuleReport): string {
  return tree === undefined ? `sum:${shortId(sum)}` : shortId(tree);
}

/** What a line of a list says of a module. */
function shortText({ desc, permissions }: Pick<ModuleReport, "desc" | "permissions">): Text {
  return text`${permissionsTag(permissions)}${desc ?? ""}`;
}

/** The news that the server has announced its next key. */
export function nextKeyText(fingerprint: string): string {
  return `The server is rotating its key. Its new key, signed by the current one, is now also accepted: ${fingerprint}`;
}

/** A verdict without the source, which only the library gives. */
function verdictJson(verdict: Verdict): object {
  if (!verdict.verified) return verdict;
  return { ...verdict, ...detailsJson(verdict) };
}

function serverJson({ server, state, error }: RotatedServer): object {
  return { server, state, ...(error === undefined ? {} : { error: error.message, code: error.code }) };
}

function eventJson(event: WatchEvent): object {
  if (event.event === "verdict")
    return { event: "verdict", cause: event.cause, ...verdictJson(event.verdict) };
  if ("report" in event) return { ...event, report: snakeKeys(event.report) };
  if (event.event === "unverified") {
    return {
      event: "unverified",
      cause: event.cause,
      mod: event.mod,
      error: event.error.message,
      code: event.error.code,
      retryMs: event.retryMs,
    };
  }
  if (event.event === "disconnected") {
    return {
      event: "disconnected",
      error: event.reason.message,
      code: event.reason.code,
      retryMs: event.retryMs,
    };
  }
  return event;
}

const connectionEvents = ["drain", "disconnected", "reconnected", "rotate", "rotate_refused"] as const;
type ConnectionEvent = Extract<WatchEvent, { event: (typeof connectionEvents)[number] }>;
type ModuleEvent = Exclude<WatchEvent, ConnectionEvent | { event: "verdict" }>;

function isOfConnection(event: WatchEvent): event is ConnectionEvent {
  return connectionEvents.some((name) => name === event.event);
}

function connectionText(event: ConnectionEvent): Text {
  if (event.event === "drain") return text`The server is about to stop.`;
  if (event.event === "rotate") return text`${nextKeyText(event.fingerprint)}`;
  if (event.event === "rotate_refused") return text`${styled("red", "WARNING")} ${event.error}`;
  if (event.event === "disconnected") {
    const next = event.retryMs === undefined ? "" : ` Retrying in ${(event.retryMs / 1000).toFixed(1)} s.`;
    return text`Disconnected: ${event.reason.message}${next}`;
  }
  const changes = [
    ...event.added.map(({ mod }) => `new ${mod}`),
    ...event.changed.map(({ mod }) => `changed ${mod}`),
    ...event.removed.map((mod) => `removed ${mod}`),
  ];
  return text`Reconnected; ${changes.length === 0 ? "nothing has changed" : changes.join(", ")}.`;
}
