import { SourceStore, type StoredFile } from "../approvals/source-store.ts";
import { VeripyError } from "../base/errors.ts";
import { type Manifest, readManifest } from "../manifest/manifest.ts";
import { storePath } from "./approval-files.ts";
import type { ModuleDescription } from "./module-description.ts";

/** A version of a module that was verified earlier, as the store of a home has it. */
export interface StoredVersion extends ModuleDescription {
  readonly mod: string;
  readonly tree: string;
  /** The module's own file first. */
  readonly files: readonly StoredFile[];
}

const shortestPrefix = 8;

/**
 * Reads a version from the store, without a connection. `mod` may lack its extension; `tree` may be its first digits, at
 * least eight. Undefined when the store has no such version. Throws `bad_config` for anything but digits, and when they are
 * those of several versions.
 */
export async function readStoredVersion(
  home: string,
  mod: string,
  tree: string,
): Promise<StoredVersion | undefined> {
  if (!/^[0-9a-f]{1,64}$/.test(tree) || tree.length < shortestPrefix)
    throw new VeripyError(
      "bad_config",
      `'${tree}' names no version: a tree is 64 lowercase hexadecimal digits, of which at least ${shortestPrefix} are needed.`,
    );
  const store = new SourceStore(storePath(home));
  for (const name of [mod, `${mod}.ts`, `${mod}.js`]) {
    const [found, ...others] = await store.treesOf(name, tree);
    if (others.length > 0)
      throw new VeripyError(
        "bad_config",
        `${others.length + 1} versions of ${name} begin with ${tree}. Give more digits: ${[found, ...others].join(", ")}`,
      );
    const files = found === undefined ? undefined : await store.read(name, found);
    if (found !== undefined && files !== undefined)
      return { mod: name, tree: found, files, ...described(name, files) };
  }
  return undefined;
}

function described(mod: string, files: readonly StoredFile[]): ModuleDescription {
  const manifest = manifestOf(mod, files);
  const { description, input, permissions, limits, describedBy = "server" } = manifest ?? {};
  return { description, input, permissions, limits, describedBy };
}

/** Undefined for a source that can't be read, which a plain server may have sent. */
function manifestOf(mod: string, files: readonly StoredFile[]): Manifest | undefined {
  try {
    return readManifest(
      mod,
      files.map(({ path, content }) => [path, content]),
    );
  } catch (error) {
    if (error instanceof VeripyError) return undefined;
    throw error;
  }
}
