import { randomUUID } from "node:crypto";
import { rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { VeripyError } from "../../base/errors.ts";
import { withFileLock } from "../../base/file-lock.ts";
import { flushDirectory, writeFileAtomic } from "../../base/files.ts";
import { withDefaultLimits } from "../../base/limits.ts";
import { reasonOf } from "../../base/plain-reason.ts";
import type { AllowedSigner } from "../../catalogue/allowed-signers.ts";
import {
  type Catalogue,
  type CatalogueServer,
  formatCatalogue,
  parseCatalogue,
} from "../../catalogue/catalogue.ts";
import { catalogueNamespace, checkCatalogue } from "../../catalogue/signed-catalogue.ts";
import { isSignatureOf, parseSshSignature } from "../../catalogue/ssh-signature.ts";
import { type CataloguePlaces, readCatalogueText } from "./catalogue-files.ts";
import { listServedFiles } from "./served-files.ts";
import { signWithSshKeygen } from "./ssh-keygen.ts";

export interface NewCatalogueOptions extends CataloguePlaces {
  /** Required for the first catalogue; later ones keep the name. */
  readonly name?: string | undefined;
  /** How long it is valid. Default: without end. */
  readonly expiresMs?: number | undefined;
  /** The servers that may use it. Default: those of the catalogue before. */
  readonly servers?: readonly CatalogueServer[] | undefined;
  readonly nowMs?: number;
}

export interface SignOptions extends NewCatalogueOptions {
  /** The file of the key: see `signWithSshKeygen`. */
  readonly key: string;
  /** Who may sign. When given, nothing is replaced unless the key is one of theirs. */
  readonly signers?: readonly AllowedSigner[] | undefined;
  readonly signer?: string | undefined;
}

/**
 * The text of the next catalogue of the files that are there now, unsigned. Writes nothing. Throws `bad_config` for a
 * missing name, a catalogue before it that can't be parsed, and one that has the highest serial.
 */
export async function nextCatalogue(
  options: NewCatalogueOptions,
): Promise<{ text: string; catalogue: Catalogue }> {
  const { cataloguePath, nowMs = Date.now(), expiresMs } = options;
  const before = await previousCatalogue(cataloguePath);
  const name = options.name ?? before?.name;
  if (name === undefined)
    throw new VeripyError(
      "bad_config",
      `There is no ${cataloguePath} yet, so the catalogue needs a name. Give it one with --name NAME.`,
    );
  const serial = before?.name === name ? before.serial + 1 : 1;
  if (!Number.isSafeInteger(serial))
    throw new VeripyError(
      "bad_config",
      `${cataloguePath} has the highest serial, so nothing can follow it. Use another name with --name NAME.`,
    );
  const catalogue: Catalogue = {
    name,
    serial,
    issued: timeText(nowMs),
    expires: expiresMs === undefined ? undefined : timeText(nowMs + expiresMs),
    servers: options.servers ?? before?.servers ?? [],
    files: await listServedFiles(options, withDefaultLimits({})),
  };
  const text = formatCatalogue(catalogue);
  // What can't be parsed must not be signed: a path with a backslash, a name that is none, a server that is listed twice.
  parseCatalogue(text, cataloguePath);
  return { text, catalogue };
}

/**
 * Lists the files that are there now, has them signed, checks the signature, and replaces the catalogue and its signature.
 * When it throws, both are as before.
 */
export async function signCatalogue(
  options: SignOptions,
): Promise<{ catalogue: Catalogue; principal?: string }> {
  const { cataloguePath, key, signers, signer, nowMs = Date.now() } = options;
  try {
    return await withFileLock(cataloguePath, async () => {
      const { text, catalogue } = await nextCatalogue(options);
      const signature = await signWithSshKeygen(text, key);
      const parsed = parseSshSignature(signature, `${cataloguePath}.sig`);
      if (!isSignatureOf(parsed, text, catalogueNamespace))
        throw new VeripyError("bad_config", `The signature with ${key} does not fit. Nothing was changed.`);
      const by =
        signers &&
        checkCatalogue(text, signature, { signers, principal: signer, nowMs, file: cataloguePath }).principal;
      await replaceBoth(cataloguePath, text, signature);
      return { catalogue, ...(by === undefined ? {} : { principal: by }) };
    });
  } catch (error) {
    if (error instanceof VeripyError) throw error;
    throw new VeripyError("bad_config", `Cannot write ${cataloguePath}: ${reasonOf(error)}.`, {
      cause: error,
    });
  }
}

async function previousCatalogue(path: string): Promise<Catalogue | undefined> {
  const text = await readCatalogueText(path);
  return text === undefined ? undefined : parseCatalogue(text, path);
}

/** Both are complete on the disk before the first is renamed. A reader between the two renames looks again. */
async function replaceBoth(path: string, text: string, signature: string): Promise<void> {
  const [newText, newSignature] = [`${path}.${randomUUID()}.tmp`, `${path}.sig.${randomUUID()}.tmp`];
  try {
    await writeFileAtomic(newSignature, signature);
    await writeFileAtomic(newText, text);
    await rename(newSignature, `${path}.sig`);
    await rename(newText, path);
  } finally {
    await Promise.all([newText, newSignature].map((temporary) => rm(temporary, { force: true })));
  }
  await flushDirectory(dirname(path));
}

/** In UTC, in whole seconds. */
function timeText(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
