import { detailOf } from "../base/errors.ts";
import type { Sha256Hex } from "../base/sha256.ts";
import { twinError } from "../source/module-scanner.ts";
import type { ModuleSource } from "../source/module-source.ts";
import { readModuleSource } from "../source/read-source.ts";
import { loadVersion, type VersionOptions } from "./hosted-version.ts";

/** The outcome of loading a module as the server would. */
export type CheckedModule =
  | { readonly mod: string; readonly ok: false; readonly problem: string }
  | {
      readonly mod: string;
      readonly ok: true;
      readonly desc: string | undefined;
      readonly input: Record<string, unknown> | undefined;
      readonly tree: Sha256Hex;
      /** All its files, itself first, as paths below `modsDir`. */
      readonly files: readonly string[];
    };

/**
 * Reads, hashes and loads one module exactly as the server would, in a process that has ended when this resolves. The
 * module's top level runs, `execute` is not called. Never rejects: what is wrong is the `problem`, a sentence that names
 * the file.
 */
export async function checkModule(
  modsDir: string,
  mod: string,
  options: VersionOptions,
): Promise<CheckedModule> {
  try {
    const twins = await twinError(modsDir, mod);
    if (twins !== undefined) throw twins;
    const source: ModuleSource = await readModuleSource(modsDir, mod, options.limits);
    const version = await loadVersion(source, options);
    const { desc, input, tree } = version;
    await version.stop();
    return { mod, ok: true, desc, input, tree, files: [mod, ...source.files.map((file) => file.path)] };
  } catch (error) {
    return { mod, ok: false, problem: detailOf(error) };
  }
}
