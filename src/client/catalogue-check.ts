import { messageOf, VeripyError } from "../base/errors.ts";
import { type AllowedSigner, readAllowedSigners } from "../catalogue/allowed-signers.ts";
import {
  type CatalogueMark,
  type CatalogueTexts,
  markOf,
  serialProblem,
} from "../catalogue/catalogue-mark.ts";
import type { SerialRecord } from "../catalogue/serial-record.ts";
import { checkCatalogue, type SignedCatalogue, timeProblem } from "../catalogue/signed-catalogue.ts";
import type { CatalogueReport } from "../protocol/messages.ts";

export interface CatalogueRules {
  /** The `allowed_signers` file. */
  readonly signersFile: string;
  /** The one of them that must have signed. */
  readonly signer: string | undefined;
  /** Where serials are remembered; undefined without a home. */
  readonly record: SerialRecord | undefined;
  /** `host:port`, for messages. */
  readonly address: string;
}

/** The server that a catalogue comes from. */
export interface CatalogueSource {
  /** The SHA-256 of its public key. */
  readonly server: string;
  /** Keys from which a rotation to that one was proven. */
  readonly earlierKeys: readonly string[];
}

/** Decides whether a catalogue that a server gives is accepted. Every refusal is `not_signed`. */
export class CatalogueCheck {
  readonly #rules: CatalogueRules;

  constructor(rules: CatalogueRules) {
    this.#rules = rules;
  }

  /** Throws `bad_config` for a signers' file that can't be read. */
  signers(): Promise<AllowedSigner[]> {
    return readAllowedSigners(this.#rules.signersFile);
  }

  /** Everything that a text alone can show: who signed it, when it holds, and for which servers. */
  text(
    { text, signature }: CatalogueTexts,
    signers: readonly AllowedSigner[],
    { server }: CatalogueSource,
  ): SignedCatalogue {
    const nowMs = Date.now();
    let signed: SignedCatalogue;
    try {
      signed = checkCatalogue(text, signature, { signers, principal: this.#rules.signer, nowMs });
    } catch (error) {
      throw this.refusal(clause(error), error);
    }
    const problem = timeProblem(signed.catalogue, nowMs);
    if (problem !== undefined) throw this.refusal(problem);
    const { servers } = signed.catalogue;
    if (servers.length > 0 && !servers.some(({ fingerprint }) => fingerprint === server))
      throw this.refusal(`it is for other servers; this one's key, ${server}, is not among them`);
    return signed;
  }

  /** Compares it with what was accepted before: on this connection, in the lock, and in the home, which notes it. */
  async order(
    signed: SignedCatalogue,
    source: CatalogueSource,
    before: { accepted: SignedCatalogue | undefined; lockMark: CatalogueMark | undefined },
  ): Promise<void> {
    const { record } = this.#rules;
    const { accepted, lockMark } = before;
    const { name } = signed.catalogue;
    const earlierName = accepted?.catalogue.name;
    if (earlierName !== undefined && earlierName !== name)
      throw this.refusal(`its name is ${name}, and it was ${earlierName} before`);
    for (const known of [accepted && markOf(accepted), lockMark]) {
      const problem = serialProblem(known, markOf(signed));
      if (problem === undefined) continue;
      throw record === undefined ? this.refusal(problem) : await record.refusal(signed, problem);
    }
    await record?.accept(signed, source);
  }

  /** The texts that a server says it has, if they were accepted before, so that they need not be fetched. */
  async stored(
    report: CatalogueReport | undefined,
    { server, earlierKeys }: CatalogueSource,
  ): Promise<CatalogueTexts | undefined> {
    const { record } = this.#rules;
    const name = await record?.nameOf(server, earlierKeys);
    if (record === undefined || name === undefined || report === undefined) return undefined;
    const known = await record.markOf(name);
    return known?.sum === report.sum ? record.textsOf(name) : undefined;
  }

  /** The texts that a server gives. A server that has none, or gives this client none, is refused. */
  async fetched(fetch: () => Promise<{ catalogue: string; signature: string }>): Promise<CatalogueTexts> {
    try {
      const { catalogue: text, signature } = await fetch();
      return { text, signature };
    } catch (error) {
      const code = error instanceof VeripyError ? error.code : undefined;
      if (code === "forbidden")
        throw this.refusal(
          `the server gives it only to clients that may sync every module (${clause(error)})`,
          error,
        );
      // Older servers do not know the request.
      if (code === "bad_request" || code === "not_found")
        throw this.refusal(`the server gives none (${clause(error)})`, error);
      throw error;
    }
  }

  refusal(why: string, cause?: unknown): VeripyError {
    const message = `The catalogue of ${this.#rules.address} is not accepted: ${why}.`;
    return new VeripyError("not_signed", message, { cause, started: false });
  }
}

function clause(error: unknown): string {
  return messageOf(error).replace(/\.$/, "");
}
