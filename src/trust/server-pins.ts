import { rename } from "node:fs/promises";
import { VeripyError } from "../base/errors.ts";
import { reasonOf } from "../base/plain-reason.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import { identityFiles } from "../identity/identity.ts";
import { readKnownServers, resolveServerPin, serverName, setKnownServer } from "./known-servers.ts";
import { isOwnCertificate } from "./server-pin-advice.ts";

export interface PinnedServer {
  readonly certsDir: string;
  readonly host: string;
  readonly port: number;
}

/**
 * Saves the key `next`, which a server has announced, beside `old` in `known-servers.json`. A `server.crt`, which takes
 * precedence over that file, is renamed to `server.crt.old`. Does nothing in the server's own directory, which contains
 * its key. Throws `bad_identity` when the files can't be written.
 */
export async function pinNextServerKey(
  server: PinnedServer,
  old: Fingerprint,
  next: Fingerprint,
): Promise<void> {
  const { certsDir, host, port } = server;
  const pin = await resolveServerPin(server);
  if (pin?.fingerprints.includes(next)) return;
  try {
    if (pin !== undefined && (await isOwnCertificate(certsDir, pin.source))) return;
    // In this order, so that there is always a pin.
    await setKnownServer(certsDir, host, port, [old, next]);
    if (pin?.source === identityFiles(certsDir, "server").certificate)
      await putServerCertificateAside(certsDir);
  } catch (error) {
    if (error instanceof VeripyError) throw error;
    throw new VeripyError(
      "bad_identity",
      `Cannot save the next key of ${serverName(host, port)} in ${certsDir}: ${reasonOf(error)}.`,
      { cause: error },
    );
  }
}

/** Renames `server.crt`, which takes precedence over `known-servers.json`, and returns the new path. */
export async function putServerCertificateAside(certsDir: string): Promise<string> {
  const { certificate } = identityFiles(certsDir, "server", ".old");
  await rename(identityFiles(certsDir, "server").certificate, certificate);
  return certificate;
}

/**
 * Removes the keys before `current` from `known-servers.json`, once the server has used that key. Does nothing unless it
 * is the last of several keys.
 */
export async function dropOldServerKeys(server: PinnedServer, current: Fingerprint): Promise<void> {
  const { certsDir, host, port } = server;
  const pinned = (await readKnownServers(certsDir)).get(serverName(host, port)) ?? [];
  if (pinned.length < 2 || pinned.at(-1) !== current) return;
  await setKnownServer(certsDir, host, port, [current]);
}

/** `host:port` of every server in `<certsDir>/known-servers.json`. */
export async function listKnownServers(certsDir: string): Promise<{ host: string; port: number }[]> {
  const names = [...(await readKnownServers(certsDir)).keys()];
  return names.map((name) => {
    const colon = name.lastIndexOf(":");
    return { host: name.slice(0, colon), port: Number(name.slice(colon + 1)) };
  });
}
