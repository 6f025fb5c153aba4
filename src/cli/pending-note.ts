import type { VeripyClient } from "../index.ts";
import { shortTree } from "./approval-text.ts";
import { note } from "./ui.ts";

/**
 * Says on standard error that a call runs the approved version of a module, and not the newer one that its server has.
 * Says it once, when it is called first: with the first output, or at the end.
 */
export class PendingNote {
  readonly #client: VeripyClient;
  readonly #mod: string;
  readonly #host: string | undefined;
  #isSaid = false;

  /** With `host`, the note names it: for a call of several. */
  constructor(client: VeripyClient, mod: string, host?: string) {
    this.#client = client;
    this.#mod = mod;
    this.#host = host;
  }

  say(): void {
    if (this.#isSaid) return;
    this.#isSaid = true;
    const { approvals, reports } = this.#client;
    const name = approvals.nameOf(this.#mod);
    const approved = approvals.approved(name);
    const current = reports.get(name);
    if (approved === undefined || current?.tree === undefined || current.tree === approved.tree) return;
    const where = this.#host === undefined ? name : `${this.#host}: ${name}`;
    note`${where}: a newer version is pending; running the approved one, ${shortTree(approved.tree)}`;
  }
}
