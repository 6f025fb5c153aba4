import { isThere } from "../base/files.ts";
import { shellQuoted } from "../base/shell-quote.ts";
import { identityFiles } from "../identity/identity.ts";

/** `ServerPin.source` when the key comes from the option, not from a file. */
export const pinnedByOption = "--server-fingerprint";

/** The default directory of `veripy-client`. */
const defaultCertsDir = "./certs";

export interface PinnedBy {
  readonly certsDir: string;
  /** `host:port`. */
  readonly name: string;
  /** See `ServerPin`. */
  readonly source: string;
}

/**
 * What to do when a server's key is right, but not the one in `source`. Ends with a command, without a full stop, or with
 * a sentence.
 */
export async function howToTrustInstead({ certsDir, name, source }: PinnedBy, key: string): Promise<string> {
  if (source === pinnedByOption) return `If this key is right, pass it with ${pinnedByOption}.`;
  if (await isOwnCertificate(certsDir, source)) {
    return `${certsDir} belongs to another server, because it contains server.key. Use another directory with --certs.`;
  }
  return `If this key is right, run: ${trustServerCommand(certsDir, name, key)}`;
}

/** Whether `file` belongs to a server whose key is in `certsDir` too. A client must not move it. */
export async function isOwnCertificate(certsDir: string, file: string): Promise<boolean> {
  const { certificate, key } = identityFiles(certsDir, "server");
  return file === certificate && (await isThere(key));
}

export function trustServerCommand(certsDir: string, name: string, key: string): string {
  return `veripy-client trust-server ${shellQuoted(name)} ${key}${certsFlag(certsDir)}`;
}

export function forgetServerCommand(certsDir: string, name: string): string {
  return `veripy-client forget-server ${shellQuoted(name)}${certsFlag(certsDir)}`;
}

function certsFlag(certsDir: string): string {
  return certsDir === defaultCertsDir ? "" : ` --certs ${shellQuoted(certsDir)}`;
}
