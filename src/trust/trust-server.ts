import { messageOf, VeripyError } from "../base/errors.ts";
import { checkClientFiles } from "../base/file-modes.ts";
import { isThere } from "../base/files.ts";
import { didYouMean } from "../base/similar.ts";
import { type Fingerprint, parseFingerprint } from "../identity/fingerprint.ts";
import { identityFiles } from "../identity/identity.ts";
import {
  knownServersFile,
  readKnownServers,
  resolveServerPin,
  serverName,
  setKnownServer,
} from "./known-servers.ts";
import { isOwnCertificate } from "./server-pin-advice.ts";
import { type PinnedServer, putServerCertificateAside } from "./server-pins.ts";

export interface TrustedServer {
  /** `host:port`. */
  readonly server: string;
  readonly fingerprint: Fingerprint;
  /** False when this key, and no other, was expected from it already. */
  readonly changed: boolean;
  /** The keys that were expected from it before and no longer are. */
  readonly replaced: readonly Fingerprint[];
  /** Where `server.crt` is now, if it was put aside. It named the key of every server. */
  readonly certificateMovedTo: string | undefined;
}

export interface ForgottenServer {
  /** `host:port`. */
  readonly server: string;
  /** The keys that its entry had. */
  readonly fingerprints: readonly Fingerprint[];
  /** `server.crt`, if it goes on to name the key of this server, as of every other. */
  readonly stillNamedBy: string | undefined;
}

/**
 * Has `known-servers.json` name exactly this key for a server, without connecting to it. A `server.crt` that names
 * another one, and comes before that file, is put aside as `server.crt.old`. Throws `bad_config` for a text that is no
 * fingerprint, and when that certificate belongs to a server whose key is in the folder; `bad_identity` when there is no
 * such folder or it cannot be written to.
 */
export async function trustServer(server: PinnedServer, key: string): Promise<TrustedServer> {
  const { certsDir, host, port } = server;
  const fingerprint = parseFingerprint(key);
  const name = serverName(host, port);
  if (!(await isThere(certsDir))) {
    throw new VeripyError(
      "bad_identity",
      `Cannot keep the key of ${name}: there is no folder ${certsDir}. 'veripy-client init' makes it, with a key for this client.`,
    );
  }
  const pin = await resolveServerPin(server);
  const { certificate } = identityFiles(certsDir, "server");
  const isInTheWay = pin?.source === certificate && !pin.fingerprints.includes(fingerprint);
  if (isInTheWay && (await isOwnCertificate(certsDir, certificate))) {
    throw new VeripyError(
      "bad_config",
      `Cannot expect another key from ${name}: ${certificate} names ${pin.fingerprints.join(" or ")} and comes first. ` +
        "As server.key lies beside it, this is the folder of that server. Use another --certs folder.",
    );
  }
  const kept = (await readKnownServers(certsDir)).get(name) ?? [];
  const changed = isInTheWay || kept.length !== 1 || kept[0] !== fingerprint;
  let certificateMovedTo: string | undefined;
  if (changed) {
    // In this order, so that there is a pin at every moment.
    await setKnownServer(certsDir, host, port, [fingerprint]);
    if (isInTheWay) certificateMovedTo = await movedAside(certsDir, certificate);
  }
  const replaced = (pin?.fingerprints ?? []).filter((one) => one !== fingerprint);
  return { server: name, fingerprint, changed, replaced, certificateMovedTo };
}

/**
 * Removes the entry of a server from `known-servers.json`. Throws `bad_config`, naming the entries that may have been
 * meant, when there is none.
 */
export async function forgetServer({ certsDir, host, port }: PinnedServer): Promise<ForgottenServer> {
  const name = serverName(host, port);
  await checkClientFiles(certsDir);
  const known = await readKnownServers(certsDir);
  const { certificate } = identityFiles(certsDir, "server");
  const stillNamedBy = (await isThere(certificate)) ? certificate : undefined;
  const fingerprints = known.get(name);
  if (fingerprints === undefined) {
    const andCertificate =
      stillNamedBy === undefined
        ? ""
        : ` ${certificate} names the key of every server; to stop using it, move it away.`;
    throw new VeripyError(
      "bad_config",
      `Cannot forget ${name}: ${knownServersFile(certsDir)} has no entry for it. ` +
        `${hint(name, [...known.keys()])}${andCertificate}`,
    );
  }
  await setKnownServer(certsDir, host, port, []);
  return { server: name, fingerprints, stillNamedBy };
}

async function movedAside(certsDir: string, certificate: string): Promise<string> {
  try {
    return await putServerCertificateAside(certsDir);
  } catch (error) {
    throw new VeripyError("bad_identity", `Cannot rename ${certificate}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

const maxListed = 10;

function hint(name: string, known: readonly string[]): string {
  if (known.length === 0) return "No server is known there.";
  const suggestion = didYouMean(name, known);
  if (suggestion !== "") return suggestion;
  const more = known.length > maxListed ? ` and ${known.length - maxListed} more` : "";
  return `It has: ${known.slice(0, maxListed).join(", ")}${more}.`;
}
