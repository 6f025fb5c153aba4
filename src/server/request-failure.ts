import { messageOf, VeripyError, type WireCode, wireCodes } from "../base/errors.ts";
import { loggerOf } from "../base/log.ts";
import { LogGate, suppressedNote } from "../base/log-gate.ts";
import type { PeerLabel } from "./observers/observer.ts";

const log = loggerOf("session");
/** A fault that one request brings about, others can bring about as often as they like. */
const gate = new LogGate(10);

/**
 * What a request is answered with that threw. An error that nobody expected is a fault of this server: the client gets
 * `busy` and learns nothing of it, the log has it.
 */
export function failureOf(
  thrown: unknown,
  what: string,
  peer: PeerLabel,
): { code: WireCode; message: string } {
  if (thrown instanceof VeripyError && isWireCode(thrown.code)) {
    return { code: thrown.code, message: thrown.message };
  }
  logFault(thrown, what, peer);
  return { code: "busy", message: "The server could not answer this request; its log says why." };
}

/** Logs an unexpected error, at most ten a second. */
function logFault(thrown: unknown, what: string, { name, fingerprint }: PeerLabel): void {
  const suppressed = gate.pass();
  if (suppressed === undefined) return;
  log.error("A fault of this server, in {what} of {who}: {error}{more}", {
    what,
    who: name ?? fingerprint,
    error: messageOf(thrown),
    stack: thrown instanceof Error ? thrown.stack : undefined,
    more: suppressedNote(suppressed, "faults"),
  });
}

function isWireCode(code: string): code is WireCode {
  return (wireCodes as readonly string[]).includes(code);
}
