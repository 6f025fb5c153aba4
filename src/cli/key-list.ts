import {
  type ConnectionRecord,
  listConnections,
  listInvitations,
  type OpenInvitation,
  readTrustedKeys,
  type TrustedKey,
  type TrustedKeyFields,
} from "../index.ts";
import { styled, type Text, text } from "./text.ts";
import { outputIsTerminal, print, printJson } from "./ui.ts";

/** Prints the output of `veripy-server keys`. */
export async function printKeys(trustedKeysPath: string, certsDir: string, json: boolean): Promise<void> {
  const keys = [...(await readTrustedKeys(trustedKeysPath))];
  const invitations = await listInvitations(certsDir);
  const connections = await listConnections(certsDir);
  if (json) {
    for (const key of keys) {
      printJson({ kind: "key", ...key.fields(), next: key.next, expired: key.isExpired() });
    }
    for (const { id, expires, attempts, fields } of invitations) {
      const { expires: key_expires, ...others } = fields;
      printJson({ kind: "invitation", id, expires, attempts, ...others, key_expires });
    }
    for (const connection of connections ?? []) printJson({ kind: "connection", ...connection });
    printJson({ kind: "server", running: connections !== undefined });
    return;
  }
  const hasHeaders = outputIsTerminal();
  const names = [...keys, ...(connections ?? []), ...(hasHeaders ? [{ name: "name" }] : [])].map(
    ({ name = "-" }) => name,
  );
  const width = Math.max(...names.map((name) => Bun.stringWidth(name)), 1);
  const padded = (name = "-") => name + " ".repeat(Math.max(0, width - Bun.stringWidth(name)));

  const header = (last: string) => {
    if (hasHeaders) print`  ${padded("name")}  ${"key".padEnd(16)}  ${last}`;
  };

  print`Trusted keys (${keys.length}):`;
  if (keys.length > 0) header("may do");
  for (const key of keys) print`  ${padded(key.name)}  ${short(key.fingerprint)}${rightsOf(key)}`;
  if (invitations.length > 0) print`\nOpen invitations (${invitations.length}):`;
  for (const invitation of invitations) print`  ${invitationText(invitation)}`;
  if (connections === undefined) {
    print`\nNo server with the keys in ${certsDir} is running, or it has no control socket there.`;
    return;
  }
  print`\nConnected (${connections.length}):`;
  if (connections.length > 0) header("from");
  for (const connection of connections) {
    print`  ${padded(connection.name)}  ${short(connection.fingerprint)}  ${connectionText(connection)}`;
  }
}

function rightsOf(key: TrustedKey): Text {
  const rights = fieldsText(key.fields());
  const expired = key.isExpired() ? styled("red", "  EXPIRED") : "";
  const next = key.next === undefined ? "" : `  next key ${short(key.next)}`;
  return text`${rights === "" ? "" : `  ${rights}`}${next}${expired}`;
}

function invitationText({ id, expires, attempts, fields }: OpenInvitation): string {
  const { name, ...others } = fields;
  const rights = fieldsText(others);
  const wrong = attempts === 0 ? "" : `, ${attempts} wrong ${attempts === 1 ? "attempt" : "attempts"}`;
  return (
    `${id}  ${name ?? "-"}  until ${expires.toISOString()}${wrong}` +
    (rights === "" ? "" : `; its key gets: ${rights}`)
  );
}

function connectionText({ address, since, calls }: ConnectionRecord): string {
  return `${address}  since ${since}${calls === 0 ? "" : `  calls in flight: ${calls}`}`;
}

function fieldsText({ modules, actions, from, expires, max_connections }: TrustedKeyFields): string {
  return [
    ["modules", modules && listText(modules)],
    ["actions", actions && listText(actions)],
    ["from", from && listText(from)],
    ["expires", expires],
    ["max connections", max_connections],
  ]
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name} ${value}`)
    .join("; ");
}

function listText(items: readonly string[]): string {
  return items.length === 0 ? "none" : items.join(",");
}

function short(fingerprint: string): string {
  return fingerprint.slice(0, 16);
}
