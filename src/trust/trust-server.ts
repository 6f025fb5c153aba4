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
  /** False when this key was already the only one expected from it. */
  readonly changed: boolean;
  /** The keys that are no longer expected from it. */
  readonly replaced: readonly Fingerprint[];
  /** The new path of `server.crt`, if it was renamed. It applied to every server. */
  readonly certificateMovedTo: string | undefined;
}

export interface ForgottenServer {
  /** `host:port`. */
  readonly server: string;
  /** The keys of its removed entry. */
  readonly fingerprints: readonly Fingerprint[];
  /** The path of `server.crt`, if it exists. It still applies to this server, as to every other. */
  readonly stillNamedBy: string | undefined;
}

/**
 * Makes this key the only one expected from a server, in `known-servers.json` and without connecting. A `server.crt` with
 * another key, which would take precedence, is renamed to `server.crt.old`. Throws `bad_config` for an invalid
 * fingerprint, and when that certificate belongs to a server whose key is in the directory; `bad_identity` when the
 * directory is missing or can't be written.
 */
export async function trustServer(server: PinnedServer, key: string): Promise<TrustedServer> {
  const { certsDir, host, port } = server;
  const fingerprint = parseFingerprint(key);
  const name = serverName(host, port);
  if (!(await isThere(certsDir))) {
    throw new VeripyError(
      "bad_identity",
      `Cannot save the key of ${name}: the directory ${certsDir} does not exist. 'veripy-client init' creates it, with a key for this client.`,
    );
  }
  const pin = await resolveServerPin(server);
  const { certificate } = identityFiles(certsDir, "server");
  const isInTheWay = pin?.source === certificate && !pin.fingerprints.includes(fingerprint);
  if (isInTheWay && (await isOwnCertificate(certsDir, certificate))) {
    throw new VeripyError(
      "bad_config",
      `Cannot expect another key from ${name}: ${certificate} has ${pin.fingerprints.join(" or ")} and takes precedence. ` +
        "This directory belongs to that server, because it contains server.key. Use another directory with --certs.",
    );
  }
  const kept = (await readKnownServers(certsDir)).get(name) ?? [];
  const changed = isInTheWay || kept.length !== 1 || kept[0] !== fingerprint;
  let certificateMovedTo: string | undefined;
  if (changed) {
    // In this order, so that there is always a pin.
    await setKnownServer(certsDir, host, port, [fingerprint]);
    if (isInTheWay) certificateMovedTo = await movedAside(certsDir, certificate);
  }
  const replaced = (pin?.fingerprints ?? []).filter((one) => one !== fingerprint);
  return { server: name, fingerprint, changed, replaced, certificateMovedTo };
}

/**
 * Removes the entry of a server from `known-servers.json`. Throws `bad_config`, with similar entries, when there is none.
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
        : ` ${certificate} applies to every server. To stop using it, move it away.`;
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
  if (known.length === 0) return "The file has no entries.";
  const suggestion = didYouMean(name, known);
  if (suggestion !== "") return suggestion;
  const more = known.length > maxListed ? ` and ${known.length - maxListed} more` : "";
  return `It contains: ${known.slice(0, maxListed).join(", ")}${more}.`;
}
