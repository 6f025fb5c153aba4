import type { ModuleChange } from "../modules/module-slot.ts";
import { encodeFrame } from "../protocol/frame.ts";
import { encodeReport } from "./encoded-version.ts";
import type { Session } from "./session.ts";

/**
 * Sends module changes to every session that may know of the module: `modload`, `modreload` and `modunload` with
 * the report, `moderror` with `{"mod","error"}`. Each is encoded once and has a REF of its own.
 */
export class Broadcaster {
  #count = 0;

  /** A REF that no earlier broadcast of this server has. */
  nextRef(): string {
    this.#count += 1;
    return `s${this.#count.toString(36)}`;
  }

  send(change: ModuleChange, sessions: Iterable<Session>): void {
    const ref = this.nextRef();
    const encode = (payload: string) => encodeFrame(change.kind, change.kind, ref, payload);
    if (change.kind !== "moderror") {
      const line = encode(encodeReport(change.report));
      for (const session of sessions) session.broadcast(line, change.report.mod);
      return;
    }
    const { mod, error, others } = change;
    const line = encode(JSON.stringify({ mod, error }));
    const discreet = encode(JSON.stringify({ mod, error: `${mod}: a file that it imports is at fault.` }));
    for (const session of sessions) {
      session.broadcast(others.every((other) => session.maySee(other)) ? line : discreet, mod);
    }
  }
}
