import { getLogger, type Logger } from "@logtape/logtape";

/**
 * The logger of one part of VeriPy, `["veripy", part]` to LogTape. Nothing is printed until somebody
 * configures LogTape: the commands do it in `cli/ui.ts`, an embedding program does it for itself.
 */
export function loggerOf(
  part: "server" | "session" | "module" | "tls" | "trust" | "client" | "audit",
): Logger {
  return getLogger(["veripy", part]);
}
