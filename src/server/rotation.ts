import { messageOf, VeripyError } from "../base/errors.ts";
import { loggerOf } from "../base/log.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import { nextKeyOf } from "../identity/rotation.ts";
import { confirmNextKey, setNextKey } from "../identity/trusted-keys.ts";
import { errorPayload, parsePayload, rotateRequest } from "../protocol/messages.ts";
import type { PeerLabel, TrustEdit } from "./observer.ts";

const log = loggerOf("trust");

export interface ClientRotationsOptions {
  readonly trustedKeysPath: string;
  /** Resolves when the server goes by the trust file as it is now. */
  reloadTrust(): Promise<void>;
  onEdit(edit: TrustEdit): void;
}

type Client = PeerLabel & { readonly fingerprint: Fingerprint };

/**
 * Clients that change their keys. One announces its next key over a connection of its present one; both are trusted
 * then. The first connection of the next key confirms it, and the one before is not trusted any more.
 */
export class ClientRotations {
  readonly #options: ClientRotationsOptions;
  readonly #confirming = new Set<Fingerprint>();
  /** One edit after the other: whoever confirms and at once announces the next but one, does so in that order. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: ClientRotationsOptions) {
    this.#options = options;
  }

  /** `sys:rotate:R {statement}` → the payload of `sys:rotate_resp:R {"next"}`. Never rejects. */
  async announce(client: Client, json: string): Promise<string> {
    try {
      const next = nextKeyOf(parsePayload(rotateRequest, json), client.fingerprint);
      const { changed } = await this.#edit((path) => setNextKey(path, client.fingerprint, next));
      if (changed) this.#announced(client, next);
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
        log.info("{who} has changed to the key {fingerprint}; the one before is not trusted any more.", {
          who: name ?? fingerprint,
          fingerprint,
        });
        this.#options.onEdit({ kind: "key_confirmed", peer: { fingerprint, name, address } });
      })
      .catch((error) => {
        // Both stay trusted, and the next connection tries again.
        log.error("Cannot write down that {fingerprint} is in use now: {error}", {
          fingerprint,
          error: messageOf(error),
        });
      })
      .finally(() => this.#confirming.delete(fingerprint));
  }

  #announced({ fingerprint, name, address }: Client, next: Fingerprint): void {
    log.info("{who} changes its key: {next} is trusted too from now on.", { who: name ?? fingerprint, next });
    this.#options.onEdit({ kind: "key_announced", peer: { fingerprint, name, address }, next });
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

  #refusal({ fingerprint, name }: Client, error: unknown): string {
    const who = name ?? fingerprint;
    log.warn("{who} cannot change its key: {error}", { who, error: messageOf(error) });
    if (error instanceof VeripyError) {
      if (error.code === "bad_request") return errorPayload("bad_request", error.message);
      if (error.code === "untrusted" || error.code === "bad_config") {
        return errorPayload("forbidden", error.message);
      }
    }
    return errorPayload("busy", "The server could not write down the new key; its log says why.");
  }
}
