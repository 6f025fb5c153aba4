import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../base/files.ts";
import { reasonOf } from "../base/plain-reason.ts";
import type { CatalogueMark, CatalogueTexts } from "./catalogue-mark.ts";

/** What was found first says most; and a server that signs many catalogues must not fill the disk. */
const maxEvidenceFiles = 40;

/**
 * Keeps catalogues that contradict each other, as `NAME-SERIAL-SUM.catalogue` and `.sig`, so that anybody can check with
 * `ssh-keygen` that both were signed. Returns the sentences that tell a person of the files, or why there are none.
 */
export async function keepEvidence(
  folder: string,
  name: string,
  catalogues: readonly (CatalogueMark & CatalogueTexts)[],
): Promise<string> {
  const files: string[] = [];
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const known = await readdir(folder);
    for (const { serial, sum, text, signature } of catalogues) {
      const file = `${name}-${serial}-${sum.slice(0, 8)}.catalogue`;
      if (!known.includes(file)) {
        if (known.length + 2 > maxEvidenceFiles)
          return `The evidence in ${folder} is full; nothing was added.`;
        await writeFileAtomic(join(folder, `${file}.sig`), signature, 0o600);
        await writeFileAtomic(join(folder, file), text, 0o600);
        known.push(file, `${file}.sig`);
      }
      files.push(join(folder, file));
    }
  } catch (error) {
    return `It could not be kept as evidence in ${folder}: ${reasonOf(error)}.`;
  }
  return `Evidence: ${files.join(" and ")}, each with its signature in FILE.sig.`;
}
