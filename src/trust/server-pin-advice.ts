import { isThere } from "../base/files.ts";
import { shellQuoted } from "../base/shell-quote.ts";
import { identityFiles } from "../identity/identity.ts";

/** What `ServerPin.source` is when no file names the key. */
export const pinnedByOption = "--server-fingerprint";

/** Where `veripy-client` keeps its files unless told otherwise. */
const defaultCertsDir = "./certs";

export interface PinnedBy {
  readonly certsDir: string;
  /** `host:port`. */
  readonly name: string;
  /** See `ServerPin`. */
  readonly source: string;
}

/**
 * What to do about a server whose key, although it is right, is not the one that `source` names. It ends with a command
 * and therefore without a full stop, or with a sentence.
 */
export async function howToTrustInstead({ certsDir, name, source }: PinnedBy, key: string): Promise<string> {
  if (source === pinnedByOption) return `If this key is right, give it as ${pinnedByOption}.`;
  if (await isOwnCertificate(certsDir, source)) {
    return `As server.key lies beside that file, ${certsDir} is the folder of another server. Use another --certs folder.`;
  }
  return `If this key is right, type: ${trustServerCommand(certsDir, name, key)}`;
}

/** Whether `file` is the certificate of a server whose key is in `certsDir` too, so that no client may move it. */
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
