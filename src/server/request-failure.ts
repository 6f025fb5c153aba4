import { messageOf, VeripyError, type WireCode, wireCodes } from "../base/errors.ts";
import { loggerOf } from "../base/log.ts";
import { LogGate, suppressedNote } from "../base/log-gate.ts";
import type { PeerLabel } from "./observers/observer.ts";

const log = loggerOf("session");
/** A client can repeat a request that causes a fault as often as it likes. */
const gate = new LogGate(10);

/**
 * How to answer a request whose handling threw. An unexpected error is a bug of this server: it is logged, and the client
 * gets `busy` without any details.
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
  log.error("Internal error in {what} of {who}: {error}{more}", {
    what,
    who: name ?? fingerprint,
    error: messageOf(thrown),
    stack: thrown instanceof Error ? thrown.stack : undefined,
    more: suppressedNote(suppressed, "errors"),
  });
}

function isWireCode(code: string): code is WireCode {
  return (wireCodes as readonly string[]).includes(code);
}
