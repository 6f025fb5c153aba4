import { isSha256Hex, type Sha256Hex, sha256Hex } from "../base/sha256.ts";

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
  return sha256Hex(treeListing(entries));
}

/** What `sha256sum` prints for these files, sorted: the text whose digest is the tree. */
export function treeListing(entries: Iterable<TreeEntry>): string {
  return [...entries].sort(byPath).map(sha256sumLine).join("");
}

/** The files of a listing; undefined for a text that `treeListing` does not write. */
export function parseTreeListing(listing: string): TreeEntry[] | undefined {
  const entries: TreeEntry[] = [];
  for (const line of listing.split("\n").slice(0, -1)) {
    const [, backslash, sum = "", name = ""] = /^(\\?)([0-9a-f]{64}) {2}(.+)$/.exec(line) ?? [];
    if (backslash === undefined || !isSha256Hex(sum)) return undefined;
    const path =
      backslash === "" ? name : name.replace(/\\([\\nr])/g, (_, letter) => unescaped[letter] ?? letter);
    entries.push({ path, sum });
  }
  return treeListing(entries) === listing && entries.length > 0 ? entries : undefined;
}

const unescaped: Record<string, string> = { n: "\n", r: "\r" };

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
