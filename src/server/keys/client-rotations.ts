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
  /** Whether a catalogue lists the trust file, so that an edit would count for nothing. */
  trustIsSigned(): boolean;
  /** Resolves when the server has applied the current trust file. */
  reloadTrust(): Promise<void>;
  readonly observers: Pick<ServerObserver, "trustEdited">;
}

type Client = PeerLabel & { readonly fingerprint: Fingerprint };

/** How many announcements a key may still make. The keys that it announces share it. */
interface Allowance {
  readonly bucket: TokenBucket;
  /** The refusal has been logged. */
  isExhausted: boolean;
}

const maxRefusalLinesPerSecond = 5;
/** From this number on, allowances that are full again are dropped. */
const manyAllowances = 1_000;

/**
 * Lets clients rotate their keys. A client announces its next key over a connection with the current one, and both are
 * trusted. The first connection with the next key confirms it, and the old key is no longer trusted.
 */
export class ClientRotations {
  readonly #options: ClientRotationsOptions;
  readonly #confirming = new Set<Fingerprint>();
  readonly #allowances = new Map<Fingerprint, Allowance>();
  readonly #refusals = new LogGate(maxRefusalLinesPerSecond);
  /** One edit at a time: a client may confirm a key and announce the next one at once, in that order. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: ClientRotationsOptions) {
    this.#options = options;
  }

  /** `sys:rotate:R {statement}` → the payload of `sys:rotate_resp:R {"next"}`. Never rejects. */
  async announce(client: Client, json: string): Promise<string> {
    // Before anything is parsed, verified, written or logged: refused announcements count too.
    const allowance = this.#allowanceOf(client.fingerprint);
    if (!allowance.bucket.take()) return this.#tooMany(client, allowance);
    allowance.isExhausted = false;
    try {
      if (this.#options.trustIsSigned())
        throw new VeripyError(
          "bad_config",
          "The server's trusted keys are in its signed catalogue, so a key can't be rotated here. Send the operator the " +
            "fingerprint of the new key; the catalogue then has to be signed anew.",
        );
      const next = nextKeyOf(parsePayload(rotateRequest, json), client.fingerprint);
      const { changed } = await this.#edit((path) => setNextKey(path, client.fingerprint, next));
      // Otherwise a client could evade the limit by rotating.
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

  /** To be called for every connection with a key that was announced as the next one. */
  confirm(client: Client): void {
    const { fingerprint, name, address } = client;
    if (this.#confirming.has(fingerprint) || this.#options.trustIsSigned()) return;
    this.#confirming.add(fingerprint);
    this.#edit((path) => confirmNextKey(path, fingerprint))
      .then(({ changed }) => {
        if (!changed) return;
        const peer = { fingerprint, name, address };
        this.#options.observers.trustEdited?.({ kind: "key_confirmed", peer });
      })
      .catch((error) => {
        // Both keys stay trusted, and the next connection tries again.
        const suppressed = this.#refusals.pass();
        if (suppressed === undefined) return;
        log.error("Cannot record in the trust file that {fingerprint} is now in use: {error}{more}", {
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

  /** Logged once, until the key may announce again. */
  #tooMany(client: Client, allowance: Allowance): string {
    const why = `This key may announce ${this.#options.rotationsPerMinute} keys per minute. Try again later.`;
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
    return errorPayload("busy", "The server could not save the new key; its log says why.");
  }

  #logRefusal({ fingerprint, name }: Client, error: string): void {
    const suppressed = this.#refusals.pass();
    if (suppressed === undefined) return;
    log.warn("{who} cannot rotate its key: {error}{more}", {
      who: name ?? fingerprint,
      error,
      more: suppressedNote(suppressed, "lines"),
    });
  }
}
