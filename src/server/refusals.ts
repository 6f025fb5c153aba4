import { loggerOf } from "../base/log.ts";
import type { Refusal } from "../tls/listener.ts";

const log = loggerOf("tls");
const quietMs = 10_000;
const maxRemembered = 1_000;

/**
 * One log line for each refused key or address, at most every ten seconds: whoever knocks a thousand times a
 * second must not fill the disk. What was left out is counted in the next line.
 */
export class RefusalLog {
  readonly #trustedKeysPath: string;
  readonly #recent = new Map<string, { quietUntil: number; leftOut: number }>();

  constructor(trustedKeysPath: string) {
    this.#trustedKeysPath = trustedKeysPath;
  }

  add(refusal: Refusal): void {
    const host = refusal.address.slice(0, refusal.address.lastIndexOf(":"));
    const key = `${refusal.reason} ${refusal.fingerprint ?? host}`;
    const now = performance.now();
    const known = this.#recent.get(key);
    if (known !== undefined && now < known.quietUntil) {
      known.leftOut += 1;
      return;
    }
    this.#forget(now);
    this.#recent.set(key, { quietUntil: now + quietMs, leftOut: 0 });
    this.#write(refusal, known?.leftOut ?? 0);
  }

  #write({ reason, fingerprint, address }: Refusal, leftOut: number): void {
    const more = leftOut === 0 ? "" : ` (${leftOut} more like this left out)`;
    if (reason === "untrusted" && fingerprint !== undefined) {
      log.warn("Refused an unknown key {fingerprint} from {address}{more}. To trust it: {command}", {
        fingerprint,
        address,
        more,
        command: this.#trustCommand(fingerprint),
      });
    } else log.warn("Refused a connection from {address}: {reason}{more}", { address, reason, more });
  }

  #trustCommand(fingerprint: string): string {
    const isDefault = ["./trusted-keys.json", "trusted-keys.json"].includes(this.#trustedKeysPath);
    const where = isDefault ? "" : ` --trusted-keys '${this.#trustedKeysPath.replaceAll("'", "'\\''")}'`;
    return `veripy-server trust ${fingerprint}${where}`;
  }

  #forget(now: number): void {
    if (this.#recent.size < maxRemembered) return;
    for (const [key, { quietUntil }] of this.#recent) if (quietUntil <= now) this.#recent.delete(key);
    // All of them fresh: somebody floods with ever new keys. Forget the oldest.
    for (const key of this.#recent.keys()) {
      if (this.#recent.size < maxRemembered) return;
      this.#recent.delete(key);
    }
  }
}
