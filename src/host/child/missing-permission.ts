import { lstatSync } from "node:fs";
import { resolve } from "node:path";
import type { Permissions } from "../../manifest/permissions.ts";

/** What a system call's error may have, besides what every error has. */
interface SystemError {
  readonly code?: unknown;
  readonly syscall?: unknown;
  readonly path?: unknown;
  readonly dest?: unknown;
  readonly port?: unknown;
  readonly stack?: unknown;
  readonly cause?: unknown;
}

/** An error's causes that are looked at, itself included. */
const maxCauses = 4;

/**
 * One sentence on the permission that `mod` lacks, if that is why `error` was thrown: a system call was refused that its
 * `permissions` don't allow. Undefined for every other error.
 */
export function missingPermission(
  mod: string,
  permissions: Permissions | undefined,
  error: unknown,
): string | undefined {
  if (permissions === undefined) return undefined;
  let next = error as SystemError | null | undefined;
  for (let depth = 0; depth < maxCauses && typeof next === "object" && next !== null; depth++) {
    if (next.code === "EACCES" || next.code === "EPERM") return sentence(mod, permissions, next);
    next = next.cause as SystemError | undefined;
  }
  return undefined;
}

function sentence(mod: string, permissions: Permissions, error: SystemError): string | undefined {
  const [call = ""] = typeof error.syscall === "string" ? error.syscall.split(" ") : [];
  if (call === "kill") return `${mod} may not signal other processes: only permissions = "all" allow it.`;
  if (/^(?:[fl]?ch(?:mod|own)|[fl]?utimes?)$/.test(call))
    return `${mod} may not ${call}${pathOf(error.path, " ")}: only permissions = "all" allow it.`;
  if (call === "spawn" || call === "posix_spawn") return lacksProgram(mod, permissions, error.path);
  if (call === "listen" || call === "bind") return lacksPort(mod, permissions, "listen", error.port);
  if (call === "connect") return lacksPort(mod, permissions, "connect", error.port);
  if (call === "") return lacksUrl(mod, permissions, error.path);
  return lacksPath(mod, permissions, call, error);
}

function lacksPath(
  mod: string,
  permissions: Permissions,
  call: string,
  error: SystemError,
): string | undefined {
  if (typeof error.path !== "string") return undefined;
  const path = resolve(error.path);
  const { read = [], write = [] } = permissions;
  if (isReading(call)) return lacks(mod, "read", path, read);
  if (call !== "open") {
    const changed = typeof error.dest === "string" && covers(write, path) ? resolve(error.dest) : path;
    return lacks(mod, "write", changed, write);
  }
  const writes = (covers(read, path) && !covers(write, path)) || isWriting(error.stack) || !exists(path);
  return writes ? lacks(mod, "write", path, write) : lacks(mod, "read", path, read);
}

function isReading(call: string): boolean {
  return /^(?:scandir|opendir|readdir|read|readlink)$/.test(call);
}

/** An error does not tell how a file was opened, but the function that opened it is often the first in its stack. */
function isWriting(stack: unknown): boolean {
  return typeof stack === "string" && /^.*\n\s*at \w*(?:write|append|truncate)\w* /i.test(stack);
}

/** Whether a path exists is no secret of the sandbox. */
function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

function covers(list: readonly string[], path: string): boolean {
  return list.some((entry) => path === entry || path.startsWith(entry.endsWith("/") ? entry : `${entry}/`));
}

function lacks(mod: string, kind: "read" | "write", path: string, list: readonly string[]): string {
  if (covers(list, path))
    return `${mod} may not ${kind} ${path} although it declares ${declared(kind, list)}: the user that runs modules may not, or the declared path did not exist when the module's process started.`;
  return `${mod} may not ${kind} ${path}: ${advice(kind, path, list)}`;
}

function lacksProgram(mod: string, { run = [] }: Permissions, path: unknown): string {
  if (typeof path !== "string")
    return `${mod} may not run that program: it declares ${declared("run", run)}.`;
  return `${mod} may not run ${path}: ${advice("run", path, run)}`;
}

function lacksPort(mod: string, permissions: Permissions, kind: "connect" | "listen", port: unknown): string {
  const list = permissions[kind] ?? [];
  const verb = kind === "connect" ? "connect to" : "listen on";
  if (typeof port !== "number" || port === 0)
    return `${mod} may not ${verb} that address: it declares ${declared(kind, list)}. Add the port to its 'permissions'.`;
  return `${mod} may not ${verb} port ${port}: ${advice(kind, port, list)}`;
}

/** `fetch` tells its URL as the path, and no system call. */
function lacksUrl(mod: string, permissions: Permissions, url: unknown): string | undefined {
  if (typeof url !== "string" || !URL.canParse(url)) return undefined;
  const { protocol, port } = new URL(url);
  if (protocol !== "http:" && protocol !== "https:") return undefined;
  return lacksPort(mod, permissions, "connect", Number(port) || (protocol === "http:" ? 80 : 443));
}

/** `it declares read: [/var/log]. Add "/srv" to its 'permissions'.` */
function advice(
  kind: keyof Permissions,
  missing: string | number,
  list: readonly (string | number)[],
): string {
  return `it declares ${declared(kind, list)}. Add ${JSON.stringify(missing)} to its 'permissions'.`;
}

function declared(kind: keyof Permissions, list: readonly (string | number)[]): string {
  return `${kind}: [${list.join(", ")}]`;
}

function pathOf(path: unknown, before: string): string {
  return typeof path === "string" ? before + path : "";
}
