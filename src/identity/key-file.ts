import { createPrivateKey, generateKeyPairSync, type KeyObject, randomUUID } from "node:crypto";
import { link, mkdir, open, stat, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { isSystemError, VeripyError } from "../base/errors.ts";
import { readFileBounded } from "../base/files.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { shellQuoted } from "../base/shell-quote.ts";
import { decodeUtf8 } from "../base/utf8.ts";
import { algorithmOf } from "./certificate.ts";
import { identityError } from "./identity-error.ts";

/** A private key as read from its file. */
export interface PrivateKey {
  /** PKCS#8 PEM. Never log it. */
  readonly pem: string;
  readonly object: KeyObject;
}

/** A key in PEM form takes a few KiB. */
const maxPemBytes = 64 * 1024;

/**
 * Reads a private key; undefined when there is no such file. Throws `bad_identity`, with what to do, when the file is
 * unreadable, accessible to others than its owner, or contains no key that VeriPy can use.
 */
export async function readKeyFile(path: string): Promise<PrivateKey | undefined> {
  let text: string;
  try {
    await refuseSharedKey(path);
    text = decodeUtf8(await readFileBounded(path, maxPemBytes));
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return undefined;
    if (error instanceof VeripyError && error.code === "bad_identity") throw error;
    throw new VeripyError("bad_identity", `Cannot read the key ${path}: ${reasonOf(error)}.`, {
      cause: error,
    });
  }
  let object: KeyObject;
  try {
    object = createPrivateKey(text);
    algorithmOf(object);
  } catch (error) {
    const quoted = shellQuoted(path);
    const why = text.includes("ENCRYPTED")
      ? `it has a passphrase. To remove it: openssl pkey -in ${quoted} -out ${quoted}`
      : error instanceof VeripyError
        ? error.message
        : "it is not a private key in PEM form. Put the right file there.";
    throw new VeripyError("bad_identity", `Cannot use the key ${path}: ${why}`, { cause: error });
  }
  return { pem: object.export({ type: "pkcs8", format: "pem" }).toString(), object };
}

/** Windows keeps access rights elsewhere than in the mode. */
async function refuseSharedKey(path: string): Promise<void> {
  if (process.platform === "win32") return;
  const mode = (await stat(path)).mode & 0o777;
  if ((mode & 0o077) === 0) return;
  throw new VeripyError(
    "bad_identity",
    `Cannot use the key ${path}: users other than its owner have access to it (mode ${mode.toString(8)}). ` +
      `To fix that: chmod 600 ${shellQuoted(path)}`,
  );
}

/**
 * Makes an Ed25519 key that only its owner can read, and its directory if that is missing. False when the file already
 * exists: a key is never overwritten. Throws `bad_identity` when it can't be written.
 */
export async function makeKeyFile(path: string): Promise<boolean> {
  const { privateKey } = generateKeyPairSync("ed25519");
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  try {
    // Not writable by the group, whatever the umask: its members could replace the files in it.
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    return await writeNewKey(path, pem);
  } catch (error) {
    throw identityError(`Cannot write ${path}`, error);
  }
}

/**
 * Writes the whole file or nothing. A hard link fails where a rename would silently replace the key that another process
 * has just made.
 */
async function writeNewKey(path: string, pem: string): Promise<boolean> {
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    await writeFlushed(temporary, pem);
    await link(temporary, path);
    return true;
  } catch (error) {
    if (isSystemError(error, "EEXIST")) return false;
    if (isSystemError(error, "EPERM", "ENOTSUP", "ENOSYS")) return writeKeyInPlace(path, pem);
    throw error;
  } finally {
    await unlink(temporary).catch(() => {});
  }
}

/** For file systems without hard links. */
async function writeKeyInPlace(path: string, pem: string): Promise<boolean> {
  try {
    await writeFlushed(path, pem);
    return true;
  } catch (error) {
    if (isSystemError(error, "EEXIST")) return false;
    throw error;
  }
}

async function writeFlushed(path: string, pem: string): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(pem);
    await file.sync();
  } finally {
    await file.close();
  }
}
