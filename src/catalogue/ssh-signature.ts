import { createHash } from "node:crypto";
import { messageOf, VeripyError } from "../base/errors.ts";
import { parseSshPublicKey, type SshPublicKey } from "./ssh-public-key.ts";
import { SshReader, sshString } from "./ssh-wire.ts";

/** An SSH signature of a file, as `ssh-keygen -Y sign` writes it. See PROTOCOL.sshsig of OpenSSH. */
export interface SshSignature {
  readonly publicKey: SshPublicKey;
  readonly namespace: string;
  readonly hash: "sha256" | "sha512";
  readonly signature: Buffer;
}

const magic = "SSHSIG";
export const maxSignatureBytes = 64 * 1024;

/** Parses the armoured form. Throws `bad_config`. */
export function parseSshSignature(armoured: string, file: string): SshSignature {
  const fail = (why: string, cause?: unknown): never => {
    throw new VeripyError("bad_config", `${file}: this is no SSH signature: ${why}.`, { cause });
  };
  if (armoured.length > maxSignatureBytes) fail(`it has more than ${maxSignatureBytes} bytes`);
  const [, base64] =
    /^-----BEGIN SSH SIGNATURE-----\r?\n([A-Za-z0-9+/=\r\n]+?)\r?\n-----END SSH SIGNATURE-----\r?\n?$/.exec(
      armoured,
    ) ?? fail("it must begin with '-----BEGIN SSH SIGNATURE-----', and end with the line for its end");
  const plain = (base64 ?? "").replaceAll(/[\r\n]/g, "");
  const bytes = Buffer.from(plain, "base64");
  if (bytes.toString("base64") !== plain) fail("what it holds is not base64");
  try {
    return readSignature(bytes);
  } catch (error) {
    return fail(messageOf(error), error);
  }
}

function readSignature(bytes: Buffer): SshSignature {
  const reader = new SshReader(bytes);
  if (reader.bytes(magic.length).toString("latin1") !== magic)
    throw new RangeError(`it does not begin with ${magic}`);
  const version = reader.uint32();
  if (version !== 1) throw new RangeError(`its version is ${version}; this program knows version 1`);
  const publicKey = parseSshPublicKey(reader.string());
  const namespace = reader.string().toString("utf8");
  // Reserved. OpenSSH ignores what is there, and it is signed.
  const reserved = reader.string();
  if (reserved.length > 0) throw new RangeError("its reserved part is not empty");
  const hash = reader.text();
  if (hash !== "sha256" && hash !== "sha512")
    throw new RangeError(`its hash is '${hash.slice(0, 32)}', not sha256 or sha512`);
  const signature = Buffer.from(reader.string());
  reader.end();
  return { publicKey, namespace, hash, signature };
}

/** Whether the signature is the key's, in this namespace, over this message. Pure. */
export function isSignatureOf(
  { publicKey, namespace, hash, signature }: SshSignature,
  message: Uint8Array | string,
  expected: string,
): boolean {
  if (namespace !== expected) return false;
  const digest = createHash(hash).update(message).digest();
  const signed = Buffer.concat([
    Buffer.from(magic),
    sshString(namespace),
    sshString(""),
    sshString(hash),
    sshString(digest),
  ]);
  return publicKey.verifies(signed, signature);
}
