import { VeripyError } from "../../base/errors.ts";
import { type AllowedSigner, findSigner, readAllowedSigners } from "../../catalogue/allowed-signers.ts";
import { parseCatalogue } from "../../catalogue/catalogue.ts";
import { SerialRecord } from "../../catalogue/serial-record.ts";
import {
  catalogueNamespace,
  checkCatalogue,
  isExpired,
  type SignedCatalogue,
  timeProblem,
} from "../../catalogue/signed-catalogue.ts";
import { parseSshSignature } from "../../catalogue/ssh-signature.ts";
import { readCatalogueText, readSignatureText } from "./catalogue-files.ts";
import { type HeldCatalogue, nameOf } from "./served-catalogue.ts";

/** Which catalogue a server accepts. */
export interface CatalogueRules {
  /** Default: `./veripy.catalogue`. Its signature is beside it, with `.sig` at the end. */
  readonly path?: string;
  /** The file of the allowed signers. Without it the catalogue is handed to clients, and not enforced. */
  readonly signersPath?: string;
  /** The one of them who must have signed. */
  readonly signer?: string;
  /** The name that it must have. Default: that of the first one that was accepted. */
  readonly name?: string;
  /** The lowest serial that is accepted. */
  readonly minSerial?: number;
  /** Where the highest serials are kept. Default: `./.veripy`. */
  readonly stateDir?: string;
}

/** Reads a catalogue and its signature, and decides whether they are accepted. */
export class CatalogueSource {
  readonly path: string;
  readonly signersPath: string | undefined;
  readonly #rules: CatalogueRules;
  readonly #record: SerialRecord;
  readonly #fingerprint: () => string;
  #signers: readonly AllowedSigner[] = [];

  /** `fingerprint` is the server's own key. */
  constructor(
    rules: CatalogueRules,
    defaults: { path: string; stateDir: string },
    fingerprint: () => string,
  ) {
    this.#rules = rules;
    this.path = rules.path ?? defaults.path;
    this.signersPath = rules.signersPath;
    this.#record = new SerialRecord(rules.stateDir ?? defaults.stateDir);
    this.#fingerprint = fingerprint;
  }

  get isEnforced(): boolean {
    return this.signersPath !== undefined;
  }

  /** Reads the signers' file again. Throws `bad_config`; those that were read last stay. */
  async readSigners(): Promise<void> {
    if (this.signersPath !== undefined) this.#signers = await readAllowedSigners(this.signersPath);
  }

  /**
   * The catalogue that is there now, when it is accepted; its serial is noted then. Undefined when it has the text of `before`,
   * or there is none and it is not needed. Throws why it is not accepted.
   */
  async read(before: HeldCatalogue | undefined): Promise<HeldCatalogue | undefined> {
    const text = await readCatalogueText(this.path);
    if (text === undefined) {
      if (!this.isEnforced) return undefined;
      throw new VeripyError("not_signed", `There is no ${this.path}.`);
    }
    const signature = await readSignatureText(this.path);
    if (signature === undefined) {
      if (!this.isEnforced) return undefined;
      throw new VeripyError("not_signed", `There is no ${this.path}.sig, so the catalogue is not signed.`);
    }
    if (text === before?.text && signature === before.signature) return undefined;
    if (!this.isEnforced) return { catalogue: parseCatalogue(text, this.path), text, signature };
    return this.#accept(text, signature);
  }

  async #accept(text: string, signature: string): Promise<SignedCatalogue> {
    const { name, minSerial = 1, signer } = this.#rules;
    const nowMs = Date.now();
    const rules = { signers: this.#signers, principal: signer, nowMs, file: this.path };
    const signed = checkCatalogue(text, signature, rules);
    const { catalogue } = signed;
    const refuse = (why: string): never => {
      throw new VeripyError("not_signed", `${this.path} (${nameOf(catalogue)}) is not accepted: ${why}.`);
    };
    if (name !== undefined && catalogue.name !== name) refuse(`its name must be ${name}`);
    if (catalogue.serial < minSerial) refuse(`its serial must be at least ${minSerial}`);
    const late = timeProblem(catalogue, nowMs);
    if (late !== undefined) refuse(late);
    const own = this.#fingerprint();
    if (catalogue.servers.length > 0 && !catalogue.servers.some(({ fingerprint }) => fingerprint === own))
      refuse(`it is for other servers; this server's key is ${own}`);
    await this.#record.accept(signed, name === undefined ? { server: own } : {});
    return signed;
  }

  /** Why a catalogue that is in use would no longer be accepted: it has expired, or its signer was removed. */
  troubleWith({ catalogue, signature }: HeldCatalogue): string | undefined {
    if (!this.isEnforced) return undefined;
    const nowMs = Date.now();
    if (isExpired(catalogue, nowMs))
      return `the catalogue ${nameOf(catalogue)} has expired at ${catalogue.expires}`;
    const { publicKey } = parseSshSignature(signature, `${this.path}.sig`);
    const rules = { namespace: catalogueNamespace, principal: this.#rules.signer, nowMs };
    const found = findSigner(this.#signers, publicKey, rules);
    return "why" in found
      ? `the signature of the catalogue ${nameOf(catalogue)} no longer counts: ${found.why}`
      : undefined;
  }
}
