import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { VeripyError } from "../base/errors.ts";
import { withFileLock } from "../base/file-lock.ts";
import { readTextIfThere, writeFileAtomic } from "../base/files.ts";
import { plainWords, strictKeys } from "../base/plain-issue.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { isSha256Hex, type Sha256Hex, sha256Hex } from "../base/sha256.ts";
import { parseStrictJson } from "../base/strict-json.ts";
import { isCatalogueName, maxCatalogueBytes } from "./catalogue.ts";
import { type CatalogueMark, type CatalogueTexts, markOf, serialProblem } from "./catalogue-mark.ts";
import { keepEvidence } from "./evidence.ts";
import type { SignedCatalogue } from "./signed-catalogue.ts";

const maxRecordBytes = 16 * 1024 * 1024;
const recordVersion = 1;

const mark = z.strictObject({
  serial: z.number().int().positive(),
  sum: z.custom<Sha256Hex>(
    (value) => typeof value === "string" && isSha256Hex(value),
    "must be 64 lowercase hexadecimal digits",
  ),
});
const name = z.string().refine(isCatalogueName, "must be the name of a catalogue");
const shape = {
  version: z.literal(recordVersion),
  catalogues: z.record(name, mark),
  /** The name of each server's catalogue, by the SHA-256 of the server's public key. Only a client writes it. */
  servers: z.record(z.string().regex(/^[0-9a-f]{64}$/), name).exactOptional(),
};
const recordFile = z.strictObject(shape, strictKeys(Object.keys(shape)));
type RecordFile = z.infer<typeof recordFile>;

/** For whom a catalogue is accepted. */
export interface AcceptOptions {
  /** The server that gave it, whose catalogue must keep its name from now on. */
  readonly server?: string;
  /** Keys from which a rotation to that of the server was proven. */
  readonly earlierKeys?: readonly string[];
}

/**
 * What was accepted under each name, in `catalogues.json` of a folder, with the texts beside it in `catalogues/`. It keeps
 * old catalogues from coming back, and two texts from sharing a serial.
 */
export class SerialRecord {
  readonly folder: string;
  readonly file: string;

  constructor(folder: string) {
    this.folder = folder;
    this.file = join(folder, "catalogues.json");
  }

  /** The mark of a name; undefined before its first catalogue. Throws `bad_config` for a record that can't be read. */
  async markOf(name: string): Promise<CatalogueMark | undefined> {
    return own((await this.#read()).catalogues, name);
  }

  /** The name of a server's catalogue, also as it was known under an earlier key of the server. */
  async nameOf(server: string, earlierKeys: readonly string[] = []): Promise<string | undefined> {
    return nameIn(await this.#read(), server, earlierKeys);
  }

  /** The texts that were accepted last under a name; undefined unless they still have the sum of its mark. */
  async textsOf(name: string): Promise<CatalogueTexts | undefined> {
    const known = await this.markOf(name);
    return known && (await this.#texts(name, known));
  }

  /**
   * Notes that a catalogue, whose signature was checked, is accepted. Throws `not_signed` for a lower serial than before,
   * another text with the same serial, and another name than the server's; both texts are then kept in `evidence/`, and the
   * message names the files. Throws `bad_config` when the record can't be read or written. Nothing is noted then.
   */
  async accept(signed: SignedCatalogue, { server, earlierKeys = [] }: AcceptOptions = {}): Promise<void> {
    const { name } = signed.catalogue;
    const next = markOf(signed);
    if (isNoted(await this.#read(), name, next, server)) return;
    await this.#edit(async (before) => {
      const pinned = server === undefined ? undefined : nameIn(before, server, earlierKeys);
      if (pinned !== undefined && pinned !== name)
        throw new VeripyError(
          "not_signed",
          `The catalogue is not accepted: its name is ${name}, and this server's catalogue was ${pinned} before. ` +
            `If it was renamed on purpose, delete the server's line in ${this.file}.`,
        );
      const known = own(before.catalogues, name);
      const problem = serialProblem(known, next);
      if (problem !== undefined) throw await this.refusal(signed, problem);
      if (known?.sum !== next.sum) await this.#keepTexts(signed);
      const servers = server === undefined ? before.servers : { ...before.servers, [server]: name };
      return {
        version: recordVersion,
        catalogues: { ...before.catalogues, [name]: next },
        ...(servers === undefined ? {} : { servers }),
      };
    });
  }

  /** The error for a catalogue that contradicts an earlier one. Keeps both as evidence. */
  async refusal(signed: SignedCatalogue, problem: string): Promise<VeripyError> {
    const { name } = signed.catalogue;
    const known = await this.markOf(name);
    const texts = known && (await this.#texts(name, known));
    const kept = await keepEvidence(join(this.folder, "evidence"), name, [
      ...(known === undefined || texts === undefined ? [] : [{ ...texts, ...known }]),
      { ...signed, ...markOf(signed) },
    ]);
    return new VeripyError(
      "not_signed",
      `The catalogue ${name}, signed by ${signed.principal}, is not accepted: ${problem}. ${kept}`,
    );
  }

  async #read(): Promise<RecordFile> {
    let text: string | undefined;
    try {
      text = await readTextIfThere(this.file, maxRecordBytes);
    } catch (error) {
      throw new VeripyError("bad_config", `Cannot read ${this.file}: ${reasonOf(error)}.`, { cause: error });
    }
    if (text === undefined) return { version: recordVersion, catalogues: {} };
    const parsed = recordFile.safeParse(parseStrictJson(text, this.file).value, plainWords);
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    const path = (issue?.path ?? []).join(".");
    throw new VeripyError("bad_config", `${this.file}: ${path === "" ? "" : `${path}: `}${issue?.message}.`);
  }

  async #edit(edit: (before: RecordFile) => Promise<RecordFile>): Promise<void> {
    try {
      await mkdir(this.folder, { recursive: true, mode: 0o700 });
      await withFileLock(this.file, async () => {
        const after = await edit(await this.#read());
        await writeFileAtomic(this.file, `${JSON.stringify(after, null, 2)}\n`, 0o600);
      });
    } catch (error) {
      if (error instanceof VeripyError) throw error;
      throw new VeripyError("bad_config", `Cannot write ${this.file}: ${reasonOf(error)}.`, { cause: error });
    }
  }

  /** Before the mark is noted, so that what is noted is there to be shown. */
  async #keepTexts({ catalogue: { name }, text, signature }: SignedCatalogue): Promise<void> {
    const path = this.#pathOf(name);
    await mkdir(join(this.folder, "catalogues"), { recursive: true, mode: 0o700 });
    await writeFileAtomic(path, text, 0o600);
    await writeFileAtomic(`${path}.sig`, signature, 0o600);
  }

  async #texts(name: string, { sum }: CatalogueMark): Promise<CatalogueTexts | undefined> {
    const path = this.#pathOf(name);
    const text = await readTextIfThere(path, maxCatalogueBytes).catch(() => undefined);
    const signature = await readTextIfThere(`${path}.sig`, maxCatalogueBytes).catch(() => undefined);
    if (text === undefined || signature === undefined || sha256Hex(text) !== sum) return undefined;
    return { text, signature };
  }

  #pathOf(name: string): string {
    return join(this.folder, "catalogues", `${name}.catalogue`);
  }
}

function isNoted(
  { catalogues, servers = {} }: RecordFile,
  name: string,
  next: CatalogueMark,
  server?: string,
): boolean {
  const known = own(catalogues, name);
  if (known?.serial !== next.serial || known.sum !== next.sum) return false;
  return server === undefined || own(servers, server) === name;
}

function nameIn(
  { servers = {} }: RecordFile,
  server: string,
  earlierKeys: readonly string[],
): string | undefined {
  return [server, ...earlierKeys].map((key) => own(servers, key)).find((name) => name !== undefined);
}

/** A catalogue's name may be that of something which every object has, such as `constructor`. */
function own<T>(record: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}
