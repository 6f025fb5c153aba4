import { messageOf } from "../base/errors.ts";
import { loggerOf } from "../base/log.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import { nextKeyOf } from "../identity/rotation-statement.ts";
import { dropOldServerKeys, pinNextServerKey } from "../trust/server-pins.ts";
import type { ConnectTarget } from "./connect-target.ts";

const log = loggerOf("client");

/** The outcome of a server's announcement of its next key. */
export type ServerKeyNews =
  /** The announcement was signed by the key of this connection. From now on both keys are accepted. */
  | { readonly kind: "rotate"; readonly fingerprint: Fingerprint; readonly previous: Fingerprint }
  /**
   * The announcement was not signed by that key, and nothing changes; or a file could not be written, and the change
   * lasts only until this program ends.
   */
  | { readonly kind: "rotate_refused"; readonly error: string };

/** Follows a server that rotates its key. One for each client. */
export class ServerKeyFollower {
  readonly #onNews: (news: ServerKeyNews) => void;
  /** The latest change of a file; changes are made one after the other. */
  #last: Promise<void> = Promise.resolve();
  #refused: string | undefined;

  constructor(onNews: (news: ServerKeyNews) => void) {
    this.#onNews = onNews;
  }

  /** Call it for each new connection: a server that shows its new key no longer uses the old one. */
  connected(target: ConnectTarget, shown: Fingerprint): void {
    if (target.expected.length < 2 || target.expected.at(-1) !== shown) return;
    target.expected = [shown];
    this.#change(() => dropOldServerKeys(target, shown), "Cannot drop the server's old key");
  }

  /** Call it for each announcement. `shown` is the server's key on the connection that it came over. */
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
      log.info("The server announced its next key {next}; it is now accepted beside {shown}.", {
        next,
        shown,
      });
      this.#onNews({ kind: "rotate", fingerprint: next, previous: shown });
    }, "The server announced its next key, which is accepted only until this program ends");
  }

  /** Resolves when every announcement so far has been written to the files or refused. */
  settled(): Promise<void> {
    return this.#last;
  }

  #change(change: () => Promise<void>, otherwise: string): void {
    this.#last = this.#last.then(change).catch((error) => this.#refuse(`${otherwise}: ${messageOf(error)}`));
  }

  /** Every sync repeats the announcement, so the same problem is reported once. */
  #refuse(reason: string): void {
    if (reason === this.#refused) return;
    this.#refused = reason;
    log.warn("{reason}", { reason });
    this.#onNews({ kind: "rotate_refused", error: reason });
  }
}
