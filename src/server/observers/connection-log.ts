import { GroupedLogGate } from "../../base/grouped-log-gate.ts";
import { loggerOf } from "../../base/log.ts";
import { LogGate, suppressedNote } from "../../base/log-gate.ts";
import type { PeerLabel } from "./observer.ts";

const log = loggerOf("server");
const sessionLog = loggerOf("session");
const maxLinesPerSecond = 100;

/**
 * What clients cause in the log by coming, going and asking for what they may not have. A key that is trusted, with
 * whatever rights, may still come back in a loop, so each kind of line has a gate; the audit log counts them all.
 */
export class ConnectionLog {
  readonly #connected: LogGate;
  readonly #left: LogGate;
  readonly #faults: GroupedLogGate;
  readonly #forbidden: GroupedLogGate;

  /** `now` in milliseconds, monotonic. */
  constructor(now = () => performance.now()) {
    this.#connected = new LogGate(maxLinesPerSecond, maxLinesPerSecond, now);
    this.#left = new LogGate(maxLinesPerSecond, maxLinesPerSecond, now);
    this.#faults = new GroupedLogGate(now);
    this.#forbidden = new GroupedLogGate(now);
  }

  connected(who: string, address: string): void {
    const suppressed = this.#connected.pass();
    if (suppressed === undefined) return;
    const more = suppressedNote(suppressed, "connections");
    log.info("Connected: {who} from {address}{more}.", { who, address, more });
  }

  /** `fault` is undefined for a client that has left in order. */
  disconnected({ fingerprint, name, address }: PeerLabel, fault: string | undefined): void {
    const who = name ?? fingerprint;
    if (fault === undefined) {
      if (this.#left.pass() !== undefined) log.debug("Disconnected: {who} from {address}.", { who, address });
      return;
    }
    const suppressed = this.#faults.pass(fingerprint, fault);
    if (suppressed === undefined) return;
    const more = suppressedNote(suppressed, "disconnections");
    log.warn("Disconnected: {who} from {address}: {why}{more}", { who, address, why: fault, more });
  }

  /** `what`: the request that the client may not make, such as `exec deploy.ts`. */
  forbidden({ fingerprint, name, address }: PeerLabel, what: string): void {
    const suppressed = this.#forbidden.pass(fingerprint, what);
    if (suppressed === undefined) return;
    const more = suppressedNote(suppressed, "requests");
    sessionLog.warn("Forbidden: {who} may not {what}{more}.", {
      who: name ?? fingerprint,
      what,
      address,
      more,
    });
  }
}
