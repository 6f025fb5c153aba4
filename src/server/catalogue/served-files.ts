import { isSystemError, VeripyError } from "../../base/errors.ts";
import { readFileBounded } from "../../base/files.ts";
import { bulkSha256Hex, type Sha256Hex, sha256Hex } from "../../base/sha256.ts";
import { modsPrefix, trustFilePath } from "../../catalogue/catalogue.ts";
import type { ScanLimits } from "../../source/module-scanner.ts";
import { ModuleScanner } from "../../source/module-scanner.ts";
import type { ModuleSource } from "../../source/module-source.ts";
import { parseTrustedKeys, readTrustedKeysText } from "../../trust/trust-file.ts";
import type { CataloguePlaces } from "./catalogue-files.ts";

/** Larger files are in no catalogue. */
const maxFileBytes = 64 * 1024 * 1024;

/**
 * The files that a server here serves, as a catalogue lists them: what each module needs, and the trust file if there is
 * one. Throws `bad_module` for a module that can't be loaded, and `bad_config` for a trust file that can't be read.
 */
export async function listServedFiles(
  { modsDir, trustedKeysPath }: CataloguePlaces,
  limits: ScanLimits,
): Promise<Map<string, Sha256Hex>> {
  const files = new Map<string, Sha256Hex>();
  for (const { entry, files: imported } of await readModules(modsDir, limits))
    for (const { path, sum } of [entry, ...imported]) addFile(files, `${modsPrefix}${path}`, sum);
  const trusted = await trustTextIfThere(trustedKeysPath);
  if (trusted !== undefined) files.set(trustFilePath, sha256Hex(trusted));
  return files;
}

/** Every module of the folder. Throws for the first one that can't be loaded. */
async function readModules(modsDir: string, limits: ScanLimits): Promise<ModuleSource[]> {
  const sources: ModuleSource[] = [];
  const faults: VeripyError[] = [];
  const scanner = new ModuleScanner(modsDir, limits, ({ outcome }) => {
    if (outcome instanceof VeripyError) faults.push(outcome);
    else if (outcome?.manifest instanceof VeripyError) faults.push(outcome.manifest);
    else if (outcome !== undefined) sources.push(outcome);
  });
  await scanner.scan();
  const [fault] = faults;
  if (fault === undefined) return sources;
  const others = faults.length === 1 ? "" : ` ${faults.length - 1} more modules can't be loaded.`;
  throw new VeripyError("bad_module", `A module can't be loaded: ${fault.message}${others}`, {
    cause: fault,
  });
}

function addFile(files: Map<string, Sha256Hex>, path: string, sum: Sha256Hex): void {
  const known = files.get(path);
  if (known !== undefined && known !== sum)
    throw new VeripyError("bad_module", `${path} changed while it was read. Run it again.`);
  files.set(path, sum);
}

async function trustTextIfThere(path: string): Promise<string | undefined> {
  try {
    const text = await readTrustedKeysText(path);
    parseTrustedKeys(text, path);
    return text;
  } catch (error) {
    if (error instanceof VeripyError && isSystemError(error.cause, "ENOENT")) return undefined;
    throw error;
  }
}

/** The SHA-256 of a file that a catalogue lists; undefined when it is missing or can't be read. */
export async function sumOfListed(path: string, places: CataloguePlaces): Promise<Sha256Hex | undefined> {
  try {
    return bulkSha256Hex(await readFileBounded(pathOf(path, places), maxFileBytes));
  } catch {
    return undefined;
  }
}

/** The path on this machine that a path in a catalogue means. */
export function pathOf(path: string, { modsDir, trustedKeysPath }: CataloguePlaces): string {
  return path === trustFilePath ? trustedKeysPath : `${modsDir}/${path.slice(modsPrefix.length)}`;
}
