import type { PlaceCatalogue } from "../approvals/lock-edits.ts";
import { messageOf, VeripyError } from "../base/errors.ts";
import { stampOf } from "../base/file-stamp.ts";
import { loggerOf } from "../base/log.ts";
import { modsPrefix } from "../catalogue/catalogue.ts";
import { type CatalogueMark, markOf } from "../catalogue/catalogue-mark.ts";
import type { CatalogueSignature, SignedCatalogue } from "../catalogue/signed-catalogue.ts";
import type { CatalogueReport } from "../protocol/messages.ts";
import { CatalogueCheck, type CatalogueRules, type CatalogueSource } from "./catalogue-check.ts";
import type { Mismatch } from "./mismatch.ts";
import type { Verdict } from "./verifier.ts";

const log = loggerOf("approvals");

/** How often the signers' file is looked at for changes. */
const pollMs = 500;

/** A catalogue that a server told of was accepted, or refused. */
export type CatalogueNews = { readonly signature: CatalogueSignature } | { readonly error: VeripyError };

/** What a catalogue needs from its client. */
export interface CatalogueHandler {
  /** Asks the server for its catalogue. */
  fetch(): Promise<{ catalogue: string; signature: string }>;
  /** The mark of a name in the lock. */
  lockMark(name: string): CatalogueMark | undefined;
  /** A catalogue that the server told of was taken up or refused. */
  announced(news: CatalogueNews): void;
  /** Another catalogue holds from now on. */
  joined(catalogue: PlaceCatalogue): Promise<void>;
  /** Another catalogue holds from now on, or none. */
  changed(): void;
}

interface Accepted {
  readonly signed: SignedCatalogue;
  readonly signature: CatalogueSignature;
  readonly expiresMs: number;
}

/** The signed catalogue of a client's server: only modules that it lists are verified, and run. */
export class ServerCatalogue {
  readonly #rules: CatalogueRules | undefined;
  readonly #check: CatalogueCheck | undefined;
  readonly #handler: CatalogueHandler;
  #source: CatalogueSource = { server: "", earlierKeys: [] };
  #accepted: Accepted | undefined;
  /** Why nothing is signed now, although a catalogue may have been accepted. */
  #problem: VeripyError | undefined;
  /** The last of the catalogues that are taken up, one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #signersMark = "";
  #timer: ReturnType<typeof setInterval> | undefined;
  #isClosed = false;

  /** Use `connect`. Without rules, no catalogue is asked for, and nothing need be signed. */
  constructor(rules: CatalogueRules | undefined, handler: CatalogueHandler) {
    this.#rules = rules;
    this.#check = rules && new CatalogueCheck(rules);
    this.#handler = handler;
  }

  /** Whether there are signers, so that only signed modules are verified and run. */
  get isRequired(): boolean {
    return this.#check !== undefined;
  }

  /** Whether a catalogue holds now. */
  get isUsable(): boolean {
    return (
      this.#accepted !== undefined && this.#problem === undefined && Date.now() < this.#accepted.expiresMs
    );
  }

  /** Who signed the catalogue that holds; undefined without signers, and while none holds. */
  get signature(): CatalogueSignature | undefined {
    return this.isUsable ? this.#accepted?.signature : undefined;
  }

  /** Why no catalogue holds, although there are signers; undefined when one does. */
  get problem(): VeripyError | undefined {
    if (this.#check === undefined || this.isUsable) return undefined;
    const { expires } = this.#accepted?.signed.catalogue ?? {};
    const why = expires === undefined ? "the server has not given one yet" : `it has expired at ${expires}`;
    return this.#problem ?? this.#check.refusal(why);
  }

  // What follows is for the client only.

  /** A connection was made. */
  connected(source: CatalogueSource): void {
    this.#source = source;
  }

  /**
   * Takes up the catalogue that the server says it has. Throws `not_signed` when it can't be accepted, and `bad_config` when
   * the signers' file can't be read. A catalogue that was accepted before holds further then.
   */
  offered(report: CatalogueReport | undefined): Promise<void> {
    const check = this.#check;
    if (check === undefined) return Promise.resolve();
    const turn = this.#turn.then(() => this.#take(check, report));
    this.#turn = turn.catch(() => {});
    return turn;
  }

  /** The server has told that it has another catalogue. Reports whether that was taken up; never rejects. */
  async announced(report: CatalogueReport): Promise<void> {
    if (!this.isRequired) return;
    try {
      await this.offered(report);
      const { signature } = this;
      if (signature !== undefined) this.#handler.announced({ signature });
    } catch (error) {
      const known =
        error instanceof VeripyError ? error : new VeripyError("protocol_error", messageOf(error));
      this.#handler.announced({ error: known });
    }
  }

  /** Resolves when every catalogue that was offered so far has been taken up or refused. */
  settled(): Promise<unknown> {
    return this.#turn;
  }

  /** Holds a verdict to the catalogue: what is not in it is rejected, and what is gets its signature. Throws `not_signed`. */
  sealed(verdict: Verdict): Verdict {
    if (!verdict.verified) return verdict;
    const accepted = this.#required();
    if (accepted === undefined) return verdict;
    const mismatches = mismatchesOf(accepted, verdict.files);
    if (mismatches.length > 0) return { verified: false, mod: verdict.mod, mismatches };
    return { ...verdict, signed: accepted.signature };
  }

  /** Throws `not_signed` unless the catalogue has every file of an approved version, by its path below `mods/`. */
  refuseUnlisted(mod: string, files: Readonly<Record<string, string>>): void {
    const accepted = this.#required();
    if (accepted === undefined) return;
    const { name, serial } = accepted.signature;
    const entries = Object.entries(files).map(([path, sum]) => ({ path, sum }));
    const [first] = mismatchesOf(accepted, entries);
    if (first === undefined) return;
    throw new VeripyError(
      "not_signed",
      `${mod} may not run: its approved version is not in the catalogue ${name}, serial ${serial}, where ${first.what} ` +
        `${first.expected === notListed ? "is missing" : "differs"}. See the difference with 'veripy-client diff ${mod}'.`,
      { started: false },
    );
  }

  /** Throws `not_signed` when there are signers and no catalogue holds. */
  refuseUnusable(): void {
    const { problem } = this;
    if (problem !== undefined) throw problem;
  }

  /** From now on nothing is signed, for this reason. */
  refused(problem: VeripyError): void {
    this.#problem = problem;
    this.#handler.changed();
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
  }

  /** Undefined without signers. */
  #required(): Accepted | undefined {
    this.refuseUnusable();
    return this.#accepted;
  }

  async #take(check: CatalogueCheck, report: CatalogueReport | undefined): Promise<void> {
    this.#signersMark = this.#signersMarkNow();
    const signers = await check.signers();
    const source = this.#source;
    const known = this.#accepted?.signed;
    const isKnown = known !== undefined && markOf(known).sum === report?.sum;
    const stored = isKnown ? known : await check.stored(report, source);
    const signed = check.text(stored ?? (await check.fetched(this.#handler.fetch)), signers, source);
    const { name, serial, expires } = signed.catalogue;
    await check.order(signed, source, { accepted: known, lockMark: this.#handler.lockMark(name) });
    this.#watchSigners(check);
    const { principal } = signed;
    if (known?.text === signed.text && known.principal === principal && this.#problem === undefined) return;
    this.#problem = undefined;
    this.#accepted = {
      signed,
      signature: { principal, serial, name },
      expiresMs: expires === undefined ? Number.POSITIVE_INFINITY : Date.parse(expires),
    };
    this.#handler.changed();
    const members = signed.catalogue.servers.map(({ fingerprint }) => fingerprint);
    await this.#handler.joined({ name, mark: markOf(signed), members });
  }

  #watchSigners(check: CatalogueCheck): void {
    if (this.#isClosed) return;
    this.#timer ??= setInterval(() => {
      if (this.#signersMark === this.#signersMarkNow()) return;
      this.#signersMark = this.#signersMarkNow();
      this.#turn = this.#turn.then(() => this.#checkAgain(check));
    }, pollMs);
    this.#timer.unref();
  }

  /** The signers' file has changed. One that can't be read changes nothing. */
  async #checkAgain(check: CatalogueCheck): Promise<void> {
    const { signed } = this.#accepted ?? {};
    if (signed === undefined) return;
    try {
      check.text(signed, await check.signers(), this.#source);
      if (this.#problem === undefined) return;
      this.#problem = undefined;
      this.#handler.changed();
    } catch (error) {
      if (error instanceof VeripyError && error.code === "not_signed") this.refused(error);
      else log.error("{error} What it said before holds.", { error: messageOf(error) });
    }
  }

  #signersMarkNow(): string {
    return stampOf(this.#rules?.signersFile ?? "").mark;
  }
}

const notListed = "no such file";

function mismatchesOf(
  { signed }: Accepted,
  files: readonly { readonly path: string; readonly sum: string }[],
): Mismatch[] {
  const { name, serial, files: listed } = signed.catalogue;
  return files.flatMap(({ path, sum }) => {
    const expected = listed.get(`${modsPrefix}${path}`);
    if (expected === sum) return [];
    const by = `the catalogue ${name}, serial ${serial}` as const;
    return [{ what: path, by, expected: expected ?? notListed, actual: sum }];
  });
}
