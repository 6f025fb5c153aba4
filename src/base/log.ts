import { getLogger, type Logger } from "@logtape/logtape";

/**
 * The logger of one part of VeriPy: LogTape's category `["veripy", part]`. Nothing is written until LogTape is
 * configured. The commands do that; an embedding program does it itself.
 */
export function loggerOf(
  part: "server" | "session" | "module" | "tls" | "trust" | "client" | "approvals" | "audit",
): Logger {
  return getLogger(["veripy", part]);
}
