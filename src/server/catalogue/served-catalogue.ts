import { VeripyError } from "../../base/errors.ts";
import { type Sha256Hex, sha256Hex } from "../../base/sha256.ts";
import { type Catalogue, modsPrefix, trustFilePath } from "../../catalogue/catalogue.ts";
import type { Admission } from "../../modules/registry.ts";
import type { CatalogueReport } from "../../protocol/messages.ts";
import type { ModuleSource } from "../../source/module-source.ts";

/** A catalogue that a server has: accepted, or with no signers to check it, only parsed. */
export interface HeldCatalogue {
  readonly catalogue: Catalogue;
  readonly text: string;
  readonly signature: string;
  /** Who signed it; undefined when the signature was not checked. */
  readonly principal?: string;
}

/** What a server's catalogue lets it load, and what clients are told of it. */
export class ServedCatalogue {
  /** Whether nothing may be loaded that is not in the catalogue. */
  readonly isEnforced: boolean;
  #current: (HeldCatalogue & { readonly report: CatalogueReport; readonly payload: string }) | undefined;
  #next: HeldCatalogue | undefined;

  constructor(isEnforced: boolean) {
    this.isEnforced = isEnforced;
  }

  get current(): HeldCatalogue | undefined {
    return this.#current;
  }

  /** Its serial and sum, for clients; undefined while there is none. */
  get report(): CatalogueReport | undefined {
    return this.#current?.report;
  }

  /** The payload of the answer to `sys:catalogue`; undefined while there is none. */
  get payload(): string | undefined {
    return this.#current?.payload;
  }

  /** Whether the trust file counts only as the catalogue lists it. */
  get listsTrustFile(): boolean {
    return this.#current?.catalogue.files.has(trustFilePath) ?? false;
  }

  /** What only this one lists has to wait until it is `use`d. Undefined: nothing waits. */
  expect(next: HeldCatalogue | undefined): void {
    this.#next = next;
  }

  use(held: HeldCatalogue): void {
    const { text, signature, catalogue } = held;
    const report = { serial: catalogue.serial, sum: sha256Hex(text) };
    this.#current = { ...held, report, payload: JSON.stringify({ catalogue: text, signature }) };
    this.#next = undefined;
  }

  /** Whether a module may be loaded: all of its files must be in one catalogue, each with its sum. */
  admit(source: ModuleSource): Admission {
    if (!this.isEnforced) return "now";
    if (this.#current !== undefined && lists(this.#current, source)) return "now";
    // Without a catalogue every module waits: why is said once, not for each of them.
    if (this.#current === undefined || (this.#next !== undefined && lists(this.#next, source)))
      return "later";
    const { entry, files } = source;
    const { catalogue } = this.#current;
    const path = [entry, ...files].find((file) => !listsFile(catalogue, file))?.path ?? source.mod;
    return new VeripyError("bad_module", `${path}: not in the catalogue ${nameOf(catalogue)}.`);
  }

  /** Whether a text of the trust file may be used. */
  admitTrust(text: string): Admission {
    if (!this.isEnforced) return "now";
    if (this.#current === undefined) return "later";
    const sum = sha256Hex(text);
    const listed = this.#current.catalogue.files.get(trustFilePath);
    if (listed === undefined || listed === sum) return "now";
    if (this.#next?.catalogue.files.get(trustFilePath) === sum) return "later";
    return new VeripyError(
      "bad_config",
      `${trustFilePath}: not in the catalogue ${nameOf(this.#current.catalogue)} in this form.`,
    );
  }
}

/** Whether all of a module's files are listed. */
export function lists({ catalogue }: HeldCatalogue, { entry, files }: ModuleSource): boolean {
  return [entry, ...files].every((file) => listsFile(catalogue, file));
}

function listsFile({ files }: Catalogue, { path, sum }: { path: string; sum: Sha256Hex }): boolean {
  return files.get(`${modsPrefix}${path}`) === sum;
}

/** `prod, serial 42`. */
export function nameOf({ name, serial }: Catalogue): string {
  return `${name}, serial ${serial}`;
}
