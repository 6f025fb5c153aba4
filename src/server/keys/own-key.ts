import { messageOf } from "../../base/errors.ts";
import { stampOf } from "../../base/file-stamp.ts";
import { loggerOf } from "../../base/log.ts";
import type { Fingerprint } from "../../identity/fingerprint.ts";
import { type Identity, identityFiles, loadIdentity, loadOrCreateIdentity } from "../../identity/identity.ts";
import { loadNextIdentity } from "../../identity/next-identity.ts";
import { type SignedRotation, signRotation } from "../../identity/rotation-statement.ts";

const log = loggerOf("trust");
const serverLog = loggerOf("server");

const pollMs = 500;
/** A statement is valid for a day. One that is older than this is signed again before it is sent. */
const resignMs = 3_600_000;

export interface OwnKeyOptions {
  readonly certsDir: string;
  /** The key that the server has loaded. */
  readonly identity: Identity;
  /** The key changed, or its certificate did. If this throws, it is called again later. */
  onIdentity(identity: Identity): void;
  /** There is a new key that will replace the current one. */
  onNext(): void;
}

/**
 * The server's own key, kept as its files are: `veripy-server rotate` and `renew` affect a running server through the
 * files that they leave in its folder.
 */
export class OwnKey {
  readonly #options: OwnKeyOptions;
  readonly #told = new Set<Fingerprint>();
  #identity: Identity;
  #next: Identity | undefined;
  #statement: { readonly signed: SignedRotation; readonly at: number } | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #marks = "";
  #reported: string | undefined;
  #suspected: string | undefined;
  #isLooking = false;
  #isClosed = false;

  constructor(options: OwnKeyOptions) {
    this.#options = options;
    this.#identity = options.identity;
  }

  get identity(): Identity {
    return this.#identity;
  }

  /** Resolves when the files have been read for the first time. */
  async start(): Promise<void> {
    await this.#look();
    if (this.#isClosed) return;
    this.#timer = setInterval(() => void this.#look(), pollMs);
    this.#timer.unref();
  }

  /** Nothing is called after it. */
  close(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
  }

  /** What clients are told of the next key, freshly signed; undefined when there is none. */
  announcement(): SignedRotation | undefined {
    if (this.#next === undefined) return undefined;
    const now = Date.now();
    if (this.#statement === undefined || Math.abs(now - this.#statement.at) > resignMs) {
      this.#statement = { signed: signRotation(this.#identity.keyPem, this.#next.keyPem), at: now };
    }
    return this.#statement.signed;
  }

  /** To be called when the announcement is sent to a client. */
  told(client: { readonly fingerprint: Fingerprint; readonly name: string | undefined }): void {
    if (this.#told.has(client.fingerprint)) return;
    this.#told.add(client.fingerprint);
    const who = client.name ?? client.fingerprint;
    log.info("Told {who} about the next server key; clients that know it: {count}.", {
      who,
      count: this.#told.size,
    });
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      const marks = this.#marksOfFiles();
      if (marks === this.#marks) return;
      const { certsDir } = this.#options;
      const [identity, next] = [
        await loadIdentity(certsDir, "server"),
        await loadNextIdentity(certsDir, "server"),
      ];
      if (this.#isClosed) return;
      this.#take(identity);
      this.#expect(next);
      this.#marks = marks;
      this.#reported = this.#suspected = undefined;
    } catch (error) {
      this.#complain(messageOf(error));
    } finally {
      this.#isLooking = false;
    }
  }

  #take(identity: Identity): void {
    if (identity.certificatePem === this.#identity.certificatePem) return;
    this.#options.onIdentity(identity);
    const isNewKey = identity.fingerprint !== this.#identity.fingerprint;
    this.#identity = identity;
    const { fingerprint } = identity;
    if (!isNewKey) {
      log.info("The certificate was renewed. This server's key is still {fingerprint}.", { fingerprint });
      return;
    }
    log.info("This server's key is now {fingerprint}; clients that know it: {count}.", {
      fingerprint,
      count: this.#told.size,
    });
    this.#next = undefined;
  }

  #expect(next: Identity | undefined): void {
    if (next?.fingerprint === this.#next?.fingerprint) return;
    this.#next = next;
    this.#statement = undefined;
    this.#told.clear();
    if (next === undefined) return;
    log.info(
      "This server's next key is {next}. It is announced to clients. To switch to it: veripy-server rotate --finish",
      { next: next.fingerprint },
    );
    this.#options.onNext();
  }

  /** Files may be in the middle of being replaced, so a fault is reported only when it is seen twice in a row. */
  #complain(reason: string): void {
    if (reason === this.#suspected && reason !== this.#reported) {
      log.error("Kept the current key: {reason}", { reason });
      this.#reported = reason;
    }
    this.#suspected = reason;
  }

  #marksOfFiles(): string {
    const { certsDir } = this.#options;
    const [now, next] = [identityFiles(certsDir, "server"), identityFiles(certsDir, "server", ".next")];
    const files = [now.key, now.certificate, next.key, next.certificate];
    return files.map((file) => stampOf(file).mark).join("; ");
  }
}

/** The server's key, which is made if there is none. Throws `bad_identity`. */
export async function loadServerIdentity(certsDir: string): Promise<Identity> {
  const { identity, created } = await loadOrCreateIdentity(certsDir, "server");
  if (created) {
    const { fingerprint } = identity;
    serverLog.info("Made a new server key. Its fingerprint is {fingerprint}.", { fingerprint });
  }
  return identity;
}
