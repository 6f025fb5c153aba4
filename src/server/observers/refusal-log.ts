import { GroupedLogGate } from "../../base/grouped-log-gate.ts";
import { loggerOf } from "../../base/log.ts";
import { LogGate, suppressedNote } from "../../base/log-gate.ts";
import { shellQuoted } from "../../base/shell-quote.ts";
import { ipOf, networkOf } from "../../tls/address.ts";
import { listed } from "../../trust/find-entry.ts";
import type { Grant, TrustedKeys } from "../../trust/trusted-keys.ts";
import type { RefusedConnection, ServerObserver } from "./observer.ts";
import { explainRefusal } from "./refusal-words.ts";

const log = loggerOf("tls");
const trustLog = loggerOf("trust");
/** Anybody can cause a line about a wrong code. One a second is enough; it counts the others. */
const maxWrongCodeLinesPerSecond = 1;

/**
 * A log line for each refused connection, rate-limited: strangers must not be able to fill the disk, however many
 * addresses and keys they have.
 */
export class RefusalLog implements ServerObserver {
  readonly #trustedKeysPath: string;
  readonly #trust: () => TrustedKeys;
  readonly #gate: GroupedLogGate;
  readonly #wrongCodes = new LogGate(maxWrongCodeLinesPerSecond);

  /** `trust` returns the current trusted keys. */
  constructor(trustedKeysPath: string, trust: () => TrustedKeys, gate = new GroupedLogGate()) {
    this.#trustedKeysPath = trustedKeysPath;
    this.#trust = trust;
    this.#gate = gate;
  }

  refused({ reason, fingerprint, address }: RefusedConnection): void {
    if (reason === "wrong_code") {
      const suppressed = this.#wrongCodes.pass();
      if (suppressed === undefined) return;
      const more = suppressedNote(suppressed, "lines");
      const values = { address, fingerprint, more };
      trustLog.warn("A wrong invitation code from {address}, key {fingerprint}.{more}", values);
      return;
    }
    const network = networkOf(ipOf(address));
    const suppressed = this.#gate.pass(network, `${reason} ${fingerprint ?? ""}`);
    if (suppressed === undefined) return;
    const more = suppressedNote(suppressed, "refusals");
    if (reason === "untrusted" && fingerprint !== undefined) {
      log.warn("Refused an unknown key {fingerprint} from {address}{more}. To trust it: {command}", {
        fingerprint,
        address,
        more,
        command: this.#command(`trust ${fingerprint}`),
      });
      return;
    }
    const grant = fingerprint === undefined ? undefined : this.#trust().lookup(fingerprint);
    if (grant !== undefined && (reason === "expired" || reason === "wrong_address")) {
      const { why, help, command } = reason === "expired" ? renewal(grant) : admission(grant, address);
      log.warn("Refused {who} from {address}: its {why}{more}. {help}: {command}", {
        who: grant.name ?? grant.fingerprint,
        fingerprint,
        address,
        reason,
        why,
        more,
        help,
        command: this.#command(command),
      });
    } else {
      const why = explainRefusal(reason);
      log.warn("Refused a connection from {address}: {why}{more}", { address, reason, why, more });
    }
  }

  #command(args: string): string {
    const isDefault = ["./trusted-keys.json", "trusted-keys.json"].includes(this.#trustedKeysPath);
    const where = isDefault ? "" : ` --trusted-keys ${shellQuoted(this.#trustedKeysPath)}`;
    return `veripy-server ${args}${where}`;
  }
}

/** A longer command would fill a screen. */
const maxRangesInCommand = 20;

interface Advice {
  readonly why: string;
  readonly help: string;
  readonly command: string;
}

function renewal({ fingerprint, expiresAt = 0 }: Grant): Advice {
  return {
    why: `entry has expired (${new Date(expiresAt).toISOString()})`,
    help: "To renew it",
    command: `trust ${fingerprint} --expires 30d`,
  };
}

function admission({ fingerprint, from = [] }: Grant, address: string): Advice {
  // An IPv6 zone names this machine's interface, not the client.
  const ip = ipOf(address).replace(/%.*/, "");
  const allowed = from.length === 0 ? "those that its entry allows: there are none" : listed(from);
  const why = `address ${ip} is not among ${allowed}`;
  return from.length > maxRangesInCommand
    ? { why, help: 'To allow it, edit the entry\'s "from", which this prints too', command: "keys" }
    : { why, help: "To allow it", command: `trust ${fingerprint} --from ${[...from, ip].join(",")}` };
}
