import { loggerOf } from "../base/log.ts";
import { LogGate } from "../base/log-gate.ts";

const log = loggerOf("server");
const maxLinesPerSecond = 100;

/**
 * One log line for each client that has connected, a hundred a second at most: a key that is trusted may still come
 * back in a loop. What was left out is counted in the next line; the audit log has them all.
 */
export class ConnectionLog {
  readonly #gate = new LogGate(maxLinesPerSecond);

  connected(who: string, address: string): void {
    if (!this.#gate.pass()) return;
    const leftOut = this.#gate.takeDropped();
    const more = leftOut === 0 ? "" : ` (${leftOut} more were left out)`;
    log.info("Connected: {who} from {address}{more}.", { who, address, more });
  }
}
