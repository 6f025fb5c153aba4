/** One line of the table: what was measured, its unit, and which way is better. */
export interface Row {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  readonly better: "more" | "less";
}

export const rows = [
  { id: "one.rate", title: "one call at a time", unit: "req/s", better: "more" },
  { id: "one.p50", title: "one call at a time, p50", unit: "ms", better: "less" },
  { id: "one.p99", title: "one call at a time, p99", unit: "ms", better: "less" },
  { id: "wide.rate", title: "16 connections × 1", unit: "req/s", better: "more" },
  { id: "deep.rate", title: "16 connections × 16 in flight", unit: "req/s", better: "more" },
  { id: "deep.serverCpu", title: "16 × 16, server's CPU per call", unit: "µs", better: "less" },
  { id: "deep.clientCpu", title: "16 × 16, generator's CPU per call", unit: "µs", better: "less" },
  { id: "big.rate", title: "64 KiB argument and result, 4 × 4", unit: "req/s", better: "more" },
  { id: "handshake.rate", title: "full handshakes", unit: "/s", better: "more" },
  { id: "handshake.perCore", title: "full handshakes per server core", unit: "/s", better: "more" },
  { id: "memory.idle", title: "memory, idle", unit: "MB", better: "less" },
  { id: "memory.connected", title: "memory, with the idle connections", unit: "MB", better: "less" },
  { id: "memory.perConnection", title: "memory per idle connection", unit: "KB", better: "less" },
  { id: "memory.perModule", title: "memory per idle module, private", unit: "MB", better: "less" },
  { id: "broadcast.first", title: "broadcast, trigger to first client", unit: "ms", better: "less" },
  { id: "broadcast.last", title: "broadcast, trigger to last client", unit: "ms", better: "less" },
  { id: "broadcast.spread", title: "broadcast, first client to last", unit: "ms", better: "less" },
  { id: "edit.verified", title: "module saved → verified at a client", unit: "ms", better: "less" },
  { id: "start.listening", title: "start to listening", unit: "ms", better: "less" },
  { id: "start.modules10", title: "start to listening, 10 modules", unit: "ms", better: "less" },
  { id: "start.modules100", title: "start to listening, 100 modules", unit: "ms", better: "less" },
  { id: "exec.process", title: "veripy-client exec, whole process", unit: "ms", better: "less" },
  { id: "exec.openssl", title: "openssl s_client, one handshake", unit: "ms", better: "less" },
] as const satisfies Row[];
export type RowId = (typeof rows)[number]["id"];
