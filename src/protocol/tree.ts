import { type Sha256Hex, sha256Hex } from "../base/sha256.ts";

/** One file of a module: its path below `mods/`, with forward slashes, and the digest of its bytes. */
export interface TreeEntry {
  readonly path: string;
  readonly sum: Sha256Hex;
}

/**
 * The digest of a module and everything it imports: the SHA-256 of what `sha256sum` prints for all its files, sorted by the
 * bytes of their paths (`LC_ALL=C sort`).
 *
 *     cd mods && sha256sum hello.ts lib/format.ts | sha256sum
 */
export function treeSum(entries: Iterable<TreeEntry>): Sha256Hex {
  return sha256Hex([...entries].sort(byPath).map(sha256sumLine).join(""));
}

/** Orders by the bytes of the paths. JavaScript's own order of strings differs beyond U+FFFF. */
export function byPath(a: { readonly path: string }, b: { readonly path: string }): number {
  return Buffer.compare(Buffer.from(a.path), Buffer.from(b.path));
}

/** One line as GNU coreutils prints it: a name with a backslash or a line break is escaped, and its line starts with a backslash. */
function sha256sumLine({ path, sum }: TreeEntry): string {
  if (!/[\\\n\r]/.test(path)) return `${sum}  ${path}\n`;
  const escaped = path.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\r", "\\r");
  return `\\${sum}  ${escaped}\n`;
}
