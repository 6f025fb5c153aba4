import type { EventEmitter } from "node:events";
import type { ModuleChange } from "../../modules/module-slot.ts";
import type { ClientLabel, PeerLabel, RefusedConnection, ServerObserver } from "./observer.ts";

/** The events of a `VeripyServer`. */
export interface VeripyServerEvents {
  module: [ModuleChange];
  connected: [PeerLabel];
  disconnected: [PeerLabel & { readonly reason: string }];
  refused: [RefusedConnection];
}

/** Emits what observers are told as events. */
export class ServerEvents implements ServerObserver {
  readonly #emitter: EventEmitter<VeripyServerEvents>;

  constructor(emitter: EventEmitter<VeripyServerEvents>) {
    this.#emitter = emitter;
  }

  connected(peer: ClientLabel): void {
    this.#emitter.emit("connected", labelOf(peer));
  }

  disconnected(peer: ClientLabel, reason: string): void {
    this.#emitter.emit("disconnected", { ...labelOf(peer), reason });
  }

  refused(refusal: RefusedConnection): void {
    this.#emitter.emit("refused", refusal);
  }

  moduleChanged(change: ModuleChange): void {
    this.#emitter.emit("module", change);
  }
}

/** A copy that outlives the session. */
function labelOf({ fingerprint, name, address }: PeerLabel): PeerLabel {
  return { fingerprint, name, address };
}
