import { createHash, createPublicKey, type KeyObject, verify } from "node:crypto";
import { SshReader } from "./ssh-wire.ts";

/** An SSH public key that can check signatures. */
export interface SshPublicKey {
  /** `ssh-ed25519`, for example. */
  readonly type: string;
  /** As it stands in a signature, and in base64 in `allowed_signers`. */
  readonly blob: Buffer;
  /** Whether `signature`, an SSH signature blob, is this key's over `data`. Never throws. */
  verifies(data: Uint8Array, signature: Uint8Array): boolean;
}

interface KeyKind {
  /** Reads what follows the type in a key's blob. */
  read(reader: SshReader): Verifier;
}

/** Checks what follows the type in a signature's blob. `type` is the signature's. */
type Verifier = (data: Uint8Array, type: string, reader: SshReader) => boolean;

const minRsaBits = 2048;
const maxRsaBits = 16_384;

const ecdsa: Record<string, { curve: string; hash: string; bytes: number }> = {
  nistp256: { curve: "P-256", hash: "sha256", bytes: 32 },
  nistp384: { curve: "P-384", hash: "sha384", bytes: 48 },
  nistp521: { curve: "P-521", hash: "sha512", bytes: 66 },
};

const kinds: Record<string, KeyKind> = {
  "ssh-ed25519": {
    read(reader) {
      const key = ed25519Key(reader.string());
      return (data, type, signature) => type === "ssh-ed25519" && verify(null, data, key, signature.string());
    },
  },
  "ssh-rsa": {
    read(reader) {
      const [e, n] = [reader.mpint(), reader.mpint()];
      const bits = n.length * 8;
      if (bits < minRsaBits || bits > maxRsaBits)
        throw new RangeError(`an RSA key must have ${minRsaBits} to ${maxRsaBits} bits`);
      const key = jwk({ kty: "RSA", n: n.toString("base64url"), e: e.toString("base64url") });
      // RFC 8332. Signatures of type `ssh-rsa` are made with SHA-1, and refused.
      const hashes: Record<string, string> = { "rsa-sha2-256": "sha256", "rsa-sha2-512": "sha512" };
      return (data, type, signature) => {
        const hash = hashes[type];
        return hash !== undefined && verify(hash, data, key, signature.string());
      };
    },
  },
  "ecdsa-sha2-nistp256": ecdsaKind("nistp256"),
  "ecdsa-sha2-nistp384": ecdsaKind("nistp384"),
  "ecdsa-sha2-nistp521": ecdsaKind("nistp521"),
  // PROTOCOL.u2f of OpenSSH: the key signs a hash of the application, its flags and counter, and the hash of the data.
  "sk-ssh-ed25519@openssh.com": {
    read(reader) {
      const key = ed25519Key(reader.string());
      const application = reader.string();
      return (data, type, signature) => {
        if (type !== "sk-ssh-ed25519@openssh.com") return false;
        const raw = signature.string();
        return verify(null, securityKeyData(application, data, signature), key, raw);
      };
    },
  },
  "sk-ecdsa-sha2-nistp256@openssh.com": {
    read(reader) {
      const { key, bytes } = ecdsaKey(reader, "nistp256");
      const application = reader.string();
      return (data, type, signature) => {
        if (type !== "sk-ecdsa-sha2-nistp256@openssh.com") return false;
        const raw = ecdsaSignature(signature.string(), bytes);
        const signed = securityKeyData(application, data, signature);
        return verify("sha256", signed, { key, dsaEncoding: "ieee-p1363" }, raw);
      };
    },
  },
};

/** The types of keys that can sign, for messages. */
export const keyTypes = Object.keys(kinds);

/** Reads a public key from its blob. Throws `RangeError` with what is wrong with it. */
export function parseSshPublicKey(blob: Uint8Array): SshPublicKey {
  const reader = new SshReader(blob);
  const type = reader.text();
  const kind = Object.hasOwn(kinds, type) ? kinds[type] : undefined;
  if (kind === undefined) throw new RangeError(`'${type.slice(0, 64)}' is no key type that is known here`);
  const verifies = kind.read(reader);
  reader.end();
  return {
    type,
    blob: Buffer.from(blob),
    verifies(data, signature) {
      try {
        const parts = new SshReader(signature);
        const isRight = verifies(data, parts.text(), parts);
        parts.end();
        return isRight;
      } catch {
        // A signature that can't be read is no signature.
        return false;
      }
    },
  };
}

function ed25519Key(point: Buffer): KeyObject {
  if (point.length !== 32) throw new RangeError("an Ed25519 key must have 32 bytes");
  return jwk({ kty: "OKP", crv: "Ed25519", x: point.toString("base64url") });
}

function ecdsaKind(name: string): KeyKind {
  return {
    read(reader) {
      const { key, hash, bytes } = ecdsaKey(reader, name);
      return (data, type, signature) =>
        type === `ecdsa-sha2-${name}` &&
        verify(hash, data, { key, dsaEncoding: "ieee-p1363" }, ecdsaSignature(signature.string(), bytes));
    },
  };
}

function ecdsaKey(reader: SshReader, name: string): { key: KeyObject; hash: string; bytes: number } {
  const curve = ecdsa[name];
  if (curve === undefined || reader.text() !== name) throw new RangeError("its curve does not fit its type");
  const point = reader.string();
  // SEC 1: an uncompressed point is 4, then x and y.
  if (point.length !== 1 + 2 * curve.bytes || point[0] !== 4)
    throw new RangeError("its point is not an uncompressed one");
  const x = point.subarray(1, 1 + curve.bytes).toString("base64url");
  const y = point.subarray(1 + curve.bytes).toString("base64url");
  return { key: jwk({ kty: "EC", crv: curve.curve, x, y }), hash: curve.hash, bytes: curve.bytes };
}

/** RFC 5656: r and s as two numbers; here, each padded to the size of the curve. */
function ecdsaSignature(blob: Buffer, bytes: number): Buffer {
  const reader = new SshReader(blob);
  const numbers = [reader.mpint(), reader.mpint()];
  reader.end();
  return Buffer.concat(
    numbers.map((number) => {
      if (number.length > bytes) throw new RangeError("a number is too long");
      return Buffer.concat([Buffer.alloc(bytes - number.length), number]);
    }),
  );
}

function securityKeyData(application: Buffer, data: Uint8Array, signature: SshReader): Buffer {
  const flagsAndCounter = signature.bytes(5);
  return Buffer.concat([sha256(application), flagsAndCounter, sha256(data)]);
}

function sha256(data: Uint8Array): Buffer {
  return createHash("sha256").update(data).digest();
}

function jwk(key: Record<string, string>): KeyObject {
  try {
    return createPublicKey({ key, format: "jwk" });
  } catch (error) {
    throw new RangeError("its numbers are not a public key", { cause: error });
  }
}
