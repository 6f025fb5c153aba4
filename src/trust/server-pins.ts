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
 * Keeps the key `next` beside `old` for a server that has announced it, in `known-servers.json`. A `server.crt` that
 * comes before that file is put aside as `server.crt.old`; unless its key lies beside it: then this is the server's
 * own folder, and nothing is to be done. Throws `bad_identity` when it cannot be written down.
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
    // In this order, so that there is a pin at every moment.
    await setKnownServer(certsDir, host, port, [old, next]);
    if (pin?.source === identityFiles(certsDir, "server").certificate)
      await putServerCertificateAside(certsDir);
  } catch (error) {
    if (error instanceof VeripyError) throw error;
    throw new VeripyError(
      "bad_identity",
      `Cannot keep the next key of ${serverName(host, port)} in ${certsDir}: ${reasonOf(error)}.`,
      { cause: error },
    );
  }
}

/** Renames `server.crt`, which would come before `known-servers.json`, to the path that is returned. */
export async function putServerCertificateAside(certsDir: string): Promise<string> {
  const { certificate } = identityFiles(certsDir, "server", ".old");
  await rename(identityFiles(certsDir, "server").certificate, certificate);
  return certificate;
}

/**
 * Drops the keys that came before `current` in `known-servers.json`: the server has shown that it uses that one
 * now. Does nothing when the file does not have it as the last of several.
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
