import { messageOf } from "../../base/errors.ts";
import { loggerOf } from "../../base/log.ts";
import { LogGate, suppressedNote } from "../../base/log-gate.ts";
import type { ModuleChange } from "../../modules/module-slot.ts";
import type {
  CallRecord,
  CatalogueChange,
  ClientLabel,
  PeerLabel,
  RefusedConnection,
  RequestRecord,
  ServerObserver,
  ServerStart,
  TrustChange,
  TrustEdit,
} from "./observer.ts";

const log = loggerOf("server");
/** A client can make a faulty observer throw as often as it likes. */
const maxFaultLinesPerSecond = 10;

/**
 * All observers of a server, told of each event in order. What one of them throws is logged and keeps neither the others
 * nor the server from going on, except in `admit`, where the caller gets it.
 */
export class Observers implements Required<ServerObserver> {
  /** Whether any of them looks at requests. If not, there is no need to build their records. */
  readonly watchRequests: boolean;
  readonly #all: readonly ServerObserver[];
  readonly #faults = new LogGate(maxFaultLinesPerSecond);

  constructor(all: readonly ServerObserver[]) {
    this.#all = all;
    this.watchRequests = all.some(({ admit, answered }) => admit !== undefined || answered !== undefined);
  }

  starting(start: ServerStart): void {
    this.#tell("starting", (observer) => observer.starting?.(start));
  }

  connected(peer: ClientLabel): void {
    this.#tell("connected", (observer) => observer.connected?.(peer));
  }

  disconnected(peer: ClientLabel, reason: string, isFault: boolean): void {
    this.#tell("disconnected", (observer) => observer.disconnected?.(peer, reason, isFault));
  }

  refused(refusal: RefusedConnection): void {
    this.#tell("refused", (observer) => observer.refused?.(refusal));
  }

  forbidden(peer: PeerLabel, request: string): void {
    this.#tell("forbidden", (observer) => observer.forbidden?.(peer, request));
  }

  /** The first refusal; undefined when none of them refuses. Throws what an observer throws. */
  admit(call: CallRecord): string | undefined {
    for (const observer of this.#all) {
      const refusal = observer.admit?.(call);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  answered(record: RequestRecord): void {
    this.#tell("answered", (observer) => observer.answered?.(record));
  }

  moduleChanged(change: ModuleChange): void {
    this.#tell("moduleChanged", (observer) => observer.moduleChanged?.(change));
  }

  trustEdited(edit: TrustEdit): void {
    this.#tell("trustEdited", (observer) => observer.trustEdited?.(edit));
  }

  trustChanged(change: TrustChange): void {
    this.#tell("trustChanged", (observer) => observer.trustChanged?.(change));
  }

  catalogueChanged(change: CatalogueChange): void {
    this.#tell("catalogueChanged", (observer) => observer.catalogueChanged?.(change));
  }

  #tell(event: keyof ServerObserver, tell: (observer: ServerObserver) => void): void {
    for (const observer of this.#all) {
      try {
        tell(observer);
      } catch (error) {
        const suppressed = this.#faults.pass();
        if (suppressed === undefined) continue;
        log.error("An observer failed in '{event}': {error}{more}", {
          event,
          error: messageOf(error),
          stack: error instanceof Error ? error.stack : undefined,
          more: suppressedNote(suppressed, "faults"),
        });
      }
    }
  }
}
