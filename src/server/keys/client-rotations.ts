import { messageOf, VeripyError } from "../../base/errors.ts";
import { loggerOf } from "../../base/log.ts";
import { LogGate, suppressedNote } from "../../base/log-gate.ts";
import { TokenBucket } from "../../base/token-bucket.ts";
import type { Fingerprint } from "../../identity/fingerprint.ts";
import { nextKeyOf } from "../../identity/rotation-statement.ts";
import { errorPayload, parsePayload, rotateRequest } from "../../protocol/messages.ts";
import { confirmNextKey, setNextKey } from "../../trust/trusted-keys.ts";
import type { PeerLabel, ServerObserver } from "../observers/observer.ts";

const log = loggerOf("trust");

export interface ClientRotationsOptions {
  readonly trustedKeysPath: string;
  readonly rotationsPerMinute: number;
  /** Resolves when the server goes by the trust file as it is now. */
  reloadTrust(): Promise<void>;
  readonly observers: Pick<ServerObserver, "trustEdited">;
}

type Client = PeerLabel & { readonly fingerprint: Fingerprint };

/** A key's announcements; the keys that it has announced share them. */
interface Allowance {
  readonly bucket: TokenBucket;
  /** Its last refusal is in the log already. */
  isExhausted: boolean;
}

const maxRefusalLinesPerSecond = 5;
/** With more than these, those that are full again are forgotten. */
const manyAllowances = 1_000;

/**
 * Clients that change their keys. One announces its next key over a connection of its current one; both are trusted
 * then. The first connection of the next key confirms it, and the one before is no longer trusted.
 */
export class ClientRotations {
  readonly #options: ClientRotationsOptions;
  readonly #confirming = new Set<Fingerprint>();
  readonly #allowances = new Map<Fingerprint, Allowance>();
  readonly #refusals = new LogGate(maxRefusalLinesPerSecond);
  /** One edit after the other: a client that confirms and at once announces the next key but one does so in that order. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: ClientRotationsOptions) {
    this.#options = options;
  }

  /** `sys:rotate:R {statement}` → the payload of `sys:rotate_resp:R {"next"}`. Never rejects. */
  async announce(client: Client, json: string): Promise<string> {
    // Before anything is parsed, verified, written or logged: refused announcements cost one too.
    const allowance = this.#allowanceOf(client.fingerprint);
    if (!allowance.bucket.take()) return this.#tooMany(client, allowance);
    allowance.isExhausted = false;
    try {
      const next = nextKeyOf(parsePayload(rotateRequest, json), client.fingerprint);
      const { changed } = await this.#edit((path) => setNextKey(path, client.fingerprint, next));
      // A client that goes from key to key gains nothing.
      this.#allowances.set(next, allowance);
      if (changed) {
        const { fingerprint, name, address } = client;
        const peer = { fingerprint, name, address };
        this.#options.observers.trustEdited?.({ kind: "key_announced", peer, next });
      }
      return JSON.stringify({ next });
    } catch (error) {
      return this.#refusal(client, error);
    }
  }

  /** To be called for every connection of a key that is to follow another. */
  confirm(client: Client): void {
    const { fingerprint, name, address } = client;
    if (this.#confirming.has(fingerprint)) return;
    this.#confirming.add(fingerprint);
    this.#edit((path) => confirmNextKey(path, fingerprint))
      .then(({ changed }) => {
        if (!changed) return;
        const peer = { fingerprint, name, address };
        this.#options.observers.trustEdited?.({ kind: "key_confirmed", peer });
      })
      .catch((error) => {
        // Both stay trusted, and the next connection tries again.
        const suppressed = this.#refusals.pass();
        if (suppressed === undefined) return;
        log.error("Cannot write down that {fingerprint} is in use now: {error}{more}", {
          fingerprint,
          error: messageOf(error),
          more: suppressedNote(suppressed, "lines"),
        });
      })
      .finally(() => this.#confirming.delete(fingerprint));
  }

  #edit(change: (path: string) => Promise<{ changed: boolean }>): Promise<{ changed: boolean }> {
    const { trustedKeysPath, reloadTrust } = this.#options;
    const edited = this.#last.then(async () => {
      const result = await change(trustedKeysPath);
      await reloadTrust();
      return result;
    });
    this.#last = edited.catch(() => {});
    return edited;
  }

  #allowanceOf(fingerprint: Fingerprint): Allowance {
    const known = this.#allowances.get(fingerprint);
    if (known !== undefined) return known;
    if (this.#allowances.size >= manyAllowances) {
      for (const [key, { bucket }] of this.#allowances) if (bucket.isFull()) this.#allowances.delete(key);
    }
    const { rotationsPerMinute } = this.#options;
    const bucket = new TokenBucket(rotationsPerMinute, rotationsPerMinute / 60);
    const allowance = { bucket, isExhausted: false };
    this.#allowances.set(fingerprint, allowance);
    return allowance;
  }

  /** One line, until the key may announce again. */
  #tooMany(client: Client, allowance: Allowance): string {
    const why = `This key may announce ${this.#options.rotationsPerMinute} keys a minute. Try again later.`;
    if (!allowance.isExhausted) this.#logRefusal(client, why);
    allowance.isExhausted = true;
    return errorPayload("busy", why);
  }

  #refusal(client: Client, error: unknown): string {
    this.#logRefusal(client, messageOf(error));
    if (error instanceof VeripyError) {
      if (error.code === "bad_request") return errorPayload("bad_request", error.message);
      if (error.code === "untrusted" || error.code === "bad_config") {
        return errorPayload("forbidden", error.message);
      }
    }
    return errorPayload("busy", "The server could not write down the new key; its log says why.");
  }

  #logRefusal({ fingerprint, name }: Client, error: string): void {
    const suppressed = this.#refusals.pass();
    if (suppressed === undefined) return;
    log.warn("{who} cannot change its key: {error}{more}", {
      who: name ?? fingerprint,
      error,
      more: suppressedNote(suppressed, "lines"),
    });
  }
}
