import type {
  ClientRotation,
  ExecProgress,
  ExecResult,
  ModuleReport,
  ModuleStats,
  RotatedServer,
  Verdict,
  WatchEvent,
} from "../index.ts";
import { note, print, printable, printJson, styled } from "./ui.ts";

/** What the client's commands say: short lines for a person, or one JSON object a line. */
export class ClientOutput {
  readonly #json: boolean;

  constructor(json: boolean | undefined) {
    this.#json = json ?? false;
  }

  list(reports: readonly ModuleReport[]): void {
    if (this.#json) {
      for (const report of reports) printJson(report);
      return;
    }
    if (reports.length === 0) note("The server has no modules.");
    for (const { mod, sum, desc } of reports) print(row(mod, short(sum), desc ?? ""));
  }

  verdict(verdict: Verdict, { full = false }: { full?: boolean } = {}): void {
    if (this.#json) {
      printJson(verdictJson(verdict));
      return;
    }
    if (verdict.verified) {
      const { mod, tree, sum, desc } = verdict;
      print(`${styled("green", "verified")}  ${row(mod, full ? sum : short(sum), desc)}`);
      if (full && verdict.files.length > 1) {
        for (const file of verdict.files.slice(1)) print(`          ${row(file.path, file.sum, "")}`);
        print(`          ${row("tree", tree, "")}`);
      }
      return;
    }
    print(`${styled("red", "REJECTED")}  ${printable(verdict.mod)}`);
    for (const { what, by, expected, actual } of verdict.mismatches) {
      print(
        `          ${printable(what)}\n            ${by} says  ${printable(expected)}\n            received was     ${printable(actual)}`,
      );
    }
  }

  connected(server: string, fingerprint: string): void {
    if (this.#json) printJson({ event: "connected", server, fingerprint });
    else note(`Connected to ${server}, key ${short(fingerprint)}.`);
  }

  rotated(rotation: ClientRotation): void {
    if (this.#json) {
      printJson({ ...rotation, servers: rotation.servers.map(serverJson) });
      return;
    }
    for (const { server, state, error } of rotation.servers) {
      const why = error === undefined ? "" : `  ${printable(error.message)}`;
      print(`${state.padEnd(9)}  ${server}${why}`);
    }
    for (const server of rotation.leftOut) print(`not told   ${server}`);
    if (rotation.done) {
      print(`\nThis client's key is now ${rotation.new}; the one before is kept as client.key.old.`);
      if (rotation.leftOut.length > 0) {
        print(`On a server that was not told: veripy-server trust ${rotation.new}`);
      }
      return;
    }
    print(
      `\nThe key was not changed, since not every server accepts the next one yet. Do it again later, name only`,
    );
    print(`some servers with --host, or on a server that failed: veripy-server trust ${rotation.new}`);
  }

  /** One line for each broadcast, verdict, and change of the connection. */
  event(event: WatchEvent): void {
    if (this.#json) printJson(eventJson(event));
    else this.#eventText(event);
  }

  #eventText(event: WatchEvent): void {
    if (event.event === "verdict") this.verdict(event.verdict);
    else if (isOfConnection(event)) note(connectionText(event));
    else print(moduleText(event));
  }

  /** The result alone on standard output, so that a script can take it as it is. */
  result(result: ExecResult): void {
    if (this.#json) printJson(result);
    else if (result.result !== "") print(result.result);
  }

  part(data: string): void {
    if (this.#json) printJson({ part: data });
    else print(data);
  }

  progress({ fraction, message }: ExecProgress): void {
    if (this.#json) printJson({ progress: { fraction, message } });
    else if (process.stderr.isTTY) {
      const share = fraction === undefined ? "" : `${Math.round(fraction * 100)} % `;
      note(`${share}${printable(message ?? "")}`);
    }
  }

  stats(stats: readonly ModuleStats[]): void {
    if (this.#json) {
      for (const one of stats) printJson(one);
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
    const rows = stats.map((one) => [
      printable(one.mod),
      one.tree.slice(0, 8) + (one.current ? "" : " (old)"),
      one.state,
      String(one.pid ?? "-"),
      one.memoryBytes === undefined ? "-" : `${(one.memoryBytes / 1024 ** 2).toFixed(1)} MiB`,
      String(one.calls),
      String(one.failures),
      String(one.restarts),
      milliseconds(one.p50Ms),
      milliseconds(one.p99Ms),
    ]);
    const widths = header.map((title, column) =>
      Math.max(title.length, ...rows.map((cells) => (cells[column] ?? "").length)),
    );
    for (const cells of [header, ...rows]) {
      print(
        cells
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join("  ")
          .trimEnd(),
      );
    }
  }
}

function milliseconds(value: number | undefined): string {
  return value === undefined ? "-" : `${value.toPrecision(3)} ms`;
}

function row(name: string, digest: string, text: string): string {
  return `${printable(name).padEnd(16)} ${digest}  ${printable(text)}`.trimEnd();
}

/** Enough of a digest to tell two apart by eye; whoever compares for real uses `verify` or `--json`. */
function short(digest: string): string {
  return digest.slice(0, 16);
}

/** What a person is told when the server has announced its next key. */
export function nextKeyText(fingerprint: string): string {
  return `The server changes its key, and has signed the next one with the present one. Accepted too from now on: ${fingerprint}`;
}

/** Without the source: whoever wants it reads it from the library. */
function verdictJson(verdict: Verdict): object {
  if (!verdict.verified) return verdict;
  const { files, ...rest } = verdict;
  return { ...rest, files: files.map(({ path, sum }) => ({ path, sum })) };
}

function serverJson({ server, state, error }: RotatedServer): object {
  return { server, state, ...(error === undefined ? {} : { error: error.message, code: error.code }) };
}

function eventJson(event: WatchEvent): object {
  if (event.event === "verdict")
    return { event: "verdict", cause: event.cause, ...verdictJson(event.verdict) };
  if (event.event === "unverified") {
    return {
      event: "unverified",
      cause: event.cause,
      mod: event.mod,
      error: event.error.message,
      code: event.error.code,
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

function isOfConnection(event: WatchEvent): event is ConnectionEvent {
  return connectionEvents.some((name) => name === event.event);
}

function connectionText(event: ConnectionEvent): string {
  if (event.event === "drain") return "The server is about to stop.";
  if (event.event === "rotate") return nextKeyText(event.fingerprint);
  if (event.event === "rotate_refused") return `${styled("red", "WARNING")} ${printable(event.error)}`;
  if (event.event === "disconnected") {
    const next =
      event.retryMs === undefined ? "" : ` Trying again in ${(event.retryMs / 1000).toFixed(1)} s.`;
    return `Disconnected: ${printable(event.reason.message)}${next}`;
  }
  const changes = [
    ...event.added.map(({ mod }) => `new ${mod}`),
    ...event.changed.map(({ mod }) => `changed ${mod}`),
    ...event.removed.map((mod) => `gone ${mod}`),
  ];
  return `Connected again; ${changes.length === 0 ? "nothing has changed" : printable(changes.join(", "))}.`;
}

function moduleText(event: Exclude<WatchEvent, ConnectionEvent | { event: "verdict" }>): string {
  const tag = event.event.padEnd(9);
  switch (event.event) {
    case "modload":
    case "modreload":
      return `${styled("cyan", tag)} ${row(event.report.mod, short(event.report.sum), event.report.desc ?? "")}`;
    case "modunload":
      return `${styled("cyan", tag)} ${printable(event.mod)}`;
    case "moderror":
      return `${styled("red", tag)} ${printable(event.mod)}: ${printable(event.error)}`;
    case "unverified":
      return `${styled("red", "UNKNOWN  ")} ${printable(event.mod)}: ${printable(event.error.message)}`;
  }
}
