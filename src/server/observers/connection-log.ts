import { GroupedLogGate } from "../../base/grouped-log-gate.ts";
import { loggerOf } from "../../base/log.ts";
import { LogGate, suppressedNote } from "../../base/log-gate.ts";
import type { ClientLabel, PeerLabel, ServerObserver } from "./observer.ts";

const log = loggerOf("server");
const sessionLog = loggerOf("session");
const maxLinesPerSecond = 100;

/**
 * A log line for each client that connects, disconnects or sends a forbidden request. Even a trusted client may
 * reconnect in a loop, so each kind of line is rate-limited. The audit log counts them all.
 */
export class ConnectionLog implements ServerObserver {
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

  connected({ fingerprint, name, address }: ClientLabel): void {
    const suppressed = this.#connected.pass();
    if (suppressed === undefined) return;
    const more = suppressedNote(suppressed, "connections");
    log.info("Connected: {who} from {address}{more}.", { who: name ?? fingerprint, address, more });
  }

  disconnected({ fingerprint, name, address }: ClientLabel, reason: string, isFault: boolean): void {
    const who = name ?? fingerprint;
    if (!isFault) {
      if (this.#left.pass() !== undefined) log.debug("Disconnected: {who} from {address}.", { who, address });
      return;
    }
    const suppressed = this.#faults.pass(fingerprint, reason);
    if (suppressed === undefined) return;
    const more = suppressedNote(suppressed, "disconnections");
    log.warn("Disconnected: {who} from {address}: {why}{more}", { who, address, why: reason, more });
  }

  forbidden({ fingerprint, name, address }: PeerLabel, request: string): void {
    const suppressed = this.#forbidden.pass(fingerprint, request);
    if (suppressed === undefined) return;
    const more = suppressedNote(suppressed, "requests");
    sessionLog.warn("Forbidden: {who} may not {what}{more}.", {
      who: name ?? fingerprint,
      what: request,
      address,
      more,
    });
  }
}
