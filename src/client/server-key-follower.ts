import { messageOf } from "../base/errors.ts";
import { loggerOf } from "../base/log.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import { nextKeyOf } from "../identity/rotation-statement.ts";
import { dropOldServerKeys, pinNextServerKey } from "../trust/server-pins.ts";
import type { ConnectTarget } from "./connect-target.ts";

const log = loggerOf("client");

/** What became of a server's announcement of its next key. */
export type ServerKeyNews =
  /** It was signed by the key of this connection; both keys are accepted from now on. */
  | { readonly kind: "rotate"; readonly fingerprint: Fingerprint }
  /** It was not, or could not be written down; nothing else is accepted than before, or not after the end of this program. */
  | { readonly kind: "rotate_refused"; readonly error: string };

/** Follows a server that changes its key. One for each client. */
export class ServerKeyFollower {
  readonly #onNews: (news: ServerKeyNews) => void;
  /** Files are changed one after the other. */
  #last: Promise<void> = Promise.resolve();
  #refused: string | undefined;

  constructor(onNews: (news: ServerKeyNews) => void) {
    this.#onNews = onNews;
  }

  /** To be called for each connection: a server that shows its new key does not use the old one any more. */
  connected(target: ConnectTarget, shown: Fingerprint): void {
    if (target.expected.length < 2 || target.expected.at(-1) !== shown) return;
    target.expected = [shown];
    this.#change(() => dropOldServerKeys(target, shown), "Cannot drop the server's old key");
  }

  /** To be called for each announcement that came over a connection to a server with the key `shown`. */
  announced(target: ConnectTarget, shown: Fingerprint, announcement: unknown): void {
    let next: Fingerprint;
    try {
      next = nextKeyOf(announcement, shown);
    } catch (error) {
      this.#refuse(messageOf(error));
      return;
    }
    if (target.expected.includes(next)) return;
    target.expected = [shown, next];
    this.#change(async () => {
      target.unkept = next;
      await pinNextServerKey(target, shown, next);
      delete target.unkept;
      log.info("The server announced its next key {next}; it is accepted beside {shown}.", { next, shown });
      this.#onNews({ kind: "rotate", fingerprint: next });
    }, "The server announced its next key, which is accepted only until this program ends");
  }

  /** Resolves when what was announced so far is in the files, or was refused. */
  settled(): Promise<void> {
    return this.#last;
  }

  #change(change: () => Promise<void>, otherwise: string): void {
    this.#last = this.#last.then(change).catch((error) => this.#refuse(`${otherwise}: ${messageOf(error)}`));
  }

  /** Every sync repeats the announcement; what is wrong with it is said once. */
  #refuse(reason: string): void {
    if (reason === this.#refused) return;
    this.#refused = reason;
    log.warn("{reason}", { reason });
    this.#onNews({ kind: "rotate_refused", error: reason });
  }
}
