import { type ErrorCode, VeripyError } from "../base/errors.ts";
import { reasonOf } from "../base/plain-reason.ts";

/** One line of a client's examination: see `examineClient`. */
export interface Finding {
  readonly subject: FindingSubject;
  readonly state: "ok" | "warning" | "error";
  /** For a fault it says what to type. */
  readonly message: string;
  /** Of an error. */
  readonly code?: ErrorCode;
}

export type FindingSubject =
  | "home"
  | "settings"
  | "lock"
  | "files"
  | "key"
  | "hosts"
  | "trust"
  | "network"
  | "server"
  | "tls"
  | "clock"
  | "versions"
  | "modules"
  | "sandbox";

export function ok(subject: FindingSubject, message: string): Finding {
  return { subject, state: "ok", message };
}

export function warning(subject: FindingSubject, message: string): Finding {
  return { subject, state: "warning", message };
}

/** An error as a finding. What is neither a `VeripyError` nor a system's error is a bug, and thrown again. */
export function fault(subject: FindingSubject, error: unknown, advice = ""): Finding {
  const isOurs = error instanceof VeripyError;
  if (!isOurs && !(error instanceof Error && "syscall" in error)) throw error;
  const message = isOurs ? error.message : `${reasonOf(error)}.`;
  return {
    subject,
    state: "error",
    message: `${message} ${advice}`.trimEnd(),
    code: isOurs ? error.code : "bad_config",
  };
}
