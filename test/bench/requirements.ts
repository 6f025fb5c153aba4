import { figure } from "./figure.ts";
import type { Report } from "./results.ts";
import type { RowId } from "./rows.ts";

/** One line of what VeriPy has to reach: a figure or a ratio of this run, and its two marks. */
interface Requirement {
  readonly what: string;
  readonly unit: string;
  readonly must: number;
  readonly reach: number;
  readonly better: "more" | "less";
  /** Undefined when a part of it was not measured. */
  value(report: Report): number | undefined;
}

const requirements: readonly Requirement[] = [
  ratio("exec 16×16, against the bare in-process server", "deep.rate", ["bare"], "more", 0.45, 0.6),
  {
    what: "the same, both servers under the bare server's client",
    unit: "×",
    must: 0.45,
    reach: 0.6,
    better: "more",
    value: (report) =>
      quotient(median(report, "veripy-line", "deep.rate"), median(report, "bare", "deep.rate")),
  },
  ratio("exec 16×16, against gRPC", "deep.rate", ["grpc-node", "grpc-bun"], "more", 12, 20),
  ratio("exec 16×16, against NATS", "deep.rate", ["nats-node", "nats-bun"], "more", 3, 5),
  ratio("one exec at a time, p50, against raw TLS echo", "one.p50", ["raw"], "less", 1.5, 1.2),
  ratio("one exec at a time, p99, against gRPC", "one.p99", ["grpc-node", "grpc-bun"], "less", 0.6, 0.3),
  ratio("handshakes per server core, against raw Bun TLS", "handshake.perCore", ["raw"], "more", 0.8, 0.95),
  absolute("memory per idle connection", "memory.perConnection", "KB", 25, 17),
  absolute("memory per idle module, private", "memory.perModule", "MB", 8, 3),
  absolute("saved → verified at a client, p50", "edit.verified", "ms", 30, 15),
  // From just before the file is saved: noticing, loading and checking it are in it.
  absolute("broadcast of an edit to 500 clients, last one", "broadcast.last", "ms", 15, 8),
  absolute("server to listening with 100 modules", "start.modules100", "ms", 1_500, 600),
  {
    what: "veripy-client exec, against openssl s_client",
    unit: "×",
    must: 3,
    reach: 1.5,
    better: "less",
    value: (report) =>
      quotient(median(report, "veripy", "exec.process"), median(report, "veripy", "exec.openssl")),
  },
];

/** The requirements as lines: the figure, the two marks, and `reached`, `pass`, `short` or `not measured`. */
export function requirementLines(
  report: Report,
): { what: string; value: string; marks: string; word: string }[] {
  return requirements.map((requirement) => {
    const { what, unit, must, reach, better } = requirement;
    const value = requirement.value(report);
    const sign = better === "more" ? "≥" : "≤";
    return {
      what,
      value: value === undefined ? "–" : `${figure(value)} ${unit}`,
      marks: `must ${sign} ${must}, reach for ${sign} ${reach}`,
      word: wordOf(requirement, value),
    };
  });
}

function wordOf({ must, reach, better }: Requirement, value: number | undefined): string {
  if (value === undefined) return "not measured";
  const meets = (mark: number): boolean => (better === "more" ? value >= mark : value <= mark);
  return meets(reach) ? "reached" : meets(must) ? "pass" : "short";
}

/** VeriPy's figure over the best of the others'. */
function ratio(
  what: string,
  row: RowId,
  others: readonly string[],
  better: "more" | "less",
  must: number,
  reach: number,
): Requirement {
  return {
    what,
    unit: "×",
    must,
    reach,
    better,
    value(report) {
      const measured = others.flatMap((id) => median(report, id, row) ?? []);
      if (measured.length === 0) return undefined;
      const best = better === "more" ? Math.max(...measured) : Math.min(...measured);
      return quotient(median(report, "veripy", row), best);
    },
  };
}

function absolute(what: string, row: RowId, unit: string, must: number, reach: number): Requirement {
  return { what, unit, must, reach, better: "less", value: (report) => median(report, "veripy", row) };
}

function median(report: Report, stack: string, row: RowId): number | undefined {
  return report.cells[stack]?.[row]?.median;
}

function quotient(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : a / b;
}
