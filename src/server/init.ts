import { mkdir } from "node:fs/promises";
import { join } from "node:path";
// TypeScript sees a module here, the bundler its text.
// @ts-expect-error
import helloText from "../../mods/hello.ts" with { type: "text" };
import { readTextIfThere, writeFileAtomic } from "../base/files.ts";
import { type Identity, loadOrCreateIdentity } from "../identity/identity.ts";
import { addTrustedKey, emptyTrustFile } from "../trust/trusted-keys.ts";

export interface InitOptions {
  modsDir: string;
  certsDir: string;
  trustedKeysPath: string;
}

export interface InitResult {
  readonly server: Identity;
  readonly client: Identity;
  /** What was made: paths, and `PATH: what was added`. Empty when nothing was missing. */
  readonly made: readonly string[];
}

/**
 * Makes what a first run on one machine needs, and only what is missing. An existing client key is trusted only when the
 * trust file was missing too: a key that an existing file lacks may have been removed on purpose.
 */
export async function initServer({ modsDir, certsDir, trustedKeysPath }: InitOptions): Promise<InitResult> {
  const made: string[] = [];
  const server = await loadOrCreateIdentity(certsDir, "server");
  if (server.created) made.push(join(certsDir, "server.key"), join(certsDir, "server.crt"));
  const client = await loadOrCreateIdentity(certsDir, "client");
  if (client.created) made.push(join(certsDir, "client.key"), join(certsDir, "client.crt"));

  const trusted = await readTextIfThere(trustedKeysPath, maxTrustBytes);
  if (trusted === undefined) {
    await writeFileAtomic(trustedKeysPath, emptyTrustFile, 0o600);
  }
  if (trusted === undefined || client.created) {
    const { changed } = await addTrustedKey(trustedKeysPath, client.identity.fingerprint);
    const entry = "an entry for the client's key";
    if (trusted === undefined) made.push(`${trustedKeysPath}, with ${entry}`);
    else if (changed) made.push(`${entry} in ${trustedKeysPath}`);
  }

  if ((await mkdir(modsDir, { recursive: true })) !== undefined) {
    const path = join(modsDir, "hello.ts");
    await writeFileAtomic(path, helloText as unknown as string);
    made.push(path);
  }
  return { server: server.identity, client: client.identity, made };
}

const maxTrustBytes = 16 * 1024 * 1024;
