import { encodeFrame } from "../protocol/frame.ts";
import type { ModuleChange } from "./observer.ts";
import type { Session } from "./session.ts";

/**
 * Registry events to every session that may know of the module: `modload`, `modreload` and `modunload` with
 * `{"mod","desc","sum","tree"}`, `moderror` with `{"mod","error"}`. Encoded once, under one REF of the server's.
 */
export class Broadcaster {
  #count = 0;

  /** A REF that no broadcast of this server has had. */
  nextRef(): string {
    this.#count += 1;
    return `s${this.#count.toString(36)}`;
  }

  send(change: ModuleChange, sessions: Iterable<Session>): void {
    const payload = change.kind === "moderror" ? { mod: change.mod, error: change.error } : change.report;
    const line = encodeFrame(change.kind, change.kind, this.nextRef(), JSON.stringify(payload));
    for (const session of sessions) session.broadcast(line, payload.mod);
  }
}
