import { detailOf, VeripyError } from "../base/errors.ts";
import type { Sha256Hex } from "../base/sha256.ts";
import type { Manifest } from "../manifest/manifest.ts";
import type { ModuleLimits } from "../manifest/module-limits.ts";
import { undeclaredHints } from "../manifest/permission-hints.ts";
import type { DeclaredPermissions } from "../manifest/permissions.ts";
import { twinError } from "../source/module-scanner.ts";
import { readModuleSource } from "../source/read-source.ts";
import { loadVersion, type VersionOptions } from "./hosted-version.ts";

/** The outcome of loading a module as the server would. */
export type CheckedModule =
  | { readonly mod: string; readonly ok: false; readonly problem: string }
  | {
      readonly mod: string;
      readonly ok: true;
      readonly tree: Sha256Hex;
      readonly description: string | undefined;
      readonly input: Record<string, unknown> | undefined;
      readonly limits: ModuleLimits;
      readonly permissions: DeclaredPermissions;
      readonly describedBy: Manifest["describedBy"];
      /** The module's file first, then what it imports; paths are below `modsDir`. */
      readonly files: readonly { readonly path: string; readonly sum: Sha256Hex }[];
      /** Permissions that it seems to need and does not declare, a sentence each. */
      readonly warnings: readonly string[];
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
    const source = await readModuleSource(modsDir, mod, options.limits);
    const version = await loadVersion(source, options);
    const { desc: description, input, permissions, describedBy, tree } = version;
    await version.stop();
    const { manifest } = source;
    const texts = [source.entry, ...source.files];
    return {
      mod,
      ok: true,
      tree,
      description,
      input,
      limits: manifest instanceof VeripyError ? {} : manifest.limits,
      permissions,
      describedBy,
      files: texts.map(({ path, sum }) => ({ path, sum })),
      warnings: undeclaredHints(texts, permissions),
    };
  } catch (error) {
    return { mod, ok: false, problem: detailOf(error) };
  }
}
