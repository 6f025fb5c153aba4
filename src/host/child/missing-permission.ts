import { lstatSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { Permissions } from "../../manifest/permissions.ts";
import { landlockAbi, openSystemCalls } from "../system-calls.ts";

/** What a system call's error may have, besides what every error has. */
interface SystemError {
  readonly message?: unknown;
  readonly code?: unknown;
  readonly syscall?: unknown;
  readonly path?: unknown;
  readonly dest?: unknown;
  readonly address?: unknown;
  readonly port?: unknown;
  readonly stack?: unknown;
  readonly cause?: unknown;
}

/** An error's causes that are looked at, itself included. */
const maxCauses = 4;
/** The Landlock ABI that brought rules for TCP ports. */
const portsAbi = 4;

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
  try {
    return firstSentence(mod, permissions, error);
  } catch {
    // A module can throw an error whose fields cannot be read.
    return undefined;
  }
}

function firstSentence(mod: string, permissions: Permissions, error: unknown): string | undefined {
  let next = error as SystemError | null | undefined;
  for (let depth = 0; depth < maxCauses && typeof next === "object" && next !== null; depth++) {
    const said =
      next.code === "EACCES" || next.code === "EPERM"
        ? refused(mod, permissions, next)
        : concealed(mod, permissions, next);
    if (said !== undefined) return said;
    next = next.cause as SystemError | undefined;
  }
  return undefined;
}

function refused(mod: string, permissions: Permissions, error: SystemError): string | undefined {
  const call = callOf(error);
  if (call === "kill") return `${mod} may not signal other processes: only permissions = "all" allow it.`;
  if (/^(?:[fl]?ch(?:mod|own)|[fl]?utimes?)$/.test(call))
    return `${mod} may not ${call}${pathOf(error.path, " ")}: only permissions = "all" allow it.`;
  if (/^(?:posix_)?spawn(?:Sync)?$/.test(call)) return lacksProgram(mod, permissions, error.path);
  if (call === "bind") return lacksDatagrams(mod, permissions);
  if (call === "listen") return lacksPort(mod, permissions, "listen", error);
  if (call === "connect" || urlOf(error) !== undefined) return lacksPort(mod, permissions, "connect", error);
  return lacksPath(mod, permissions, call, error);
}

/**
 * The runtime hides some refusals: it tries each address of a name and reports "connection refused", says that a name
 * cannot be looked up because it got no socket to ask with, or gives no code at all. What was refused for another reason
 * than the kernel's rules has no sentence.
 */
function concealed(mod: string, permissions: Permissions, error: SystemError): string | undefined {
  const { connect = [], listen = [] } = permissions;
  const call = callOf(error);
  const message = String(error.message);
  const isLookUp = call === "getaddrinfo" || /^query[A-Z]/.test(call);
  const isListen = error.code === undefined && message.startsWith("Failed to listen at ");
  const isConnect = error.code === "ECONNREFUSED" && !isLookUp;
  if (!(isLookUp || isListen || isConnect) || landlockAbiHere() < portsAbi) return undefined;
  if (isListen) {
    const address = message.slice("Failed to listen at ".length);
    // Without any permission for the network there is no socket to listen with, and no reason given.
    if (address.startsWith("/") || (connect.length === 0 && listen.length === 0))
      return lacksPort(mod, permissions, "listen", { address, port: error.port });
    return undefined;
  }
  if (isLookUp && connect.length > 0) return undefined;
  if (isLookUp && urlOf(error) === undefined)
    return `${mod} may not look up names: it declares ${declared("connect", connect)}. Add the port to its 'permissions'.`;
  const port = portOf(error);
  if (port === undefined ? connect.length > 0 : connect.includes(port)) return undefined;
  return lacksPort(mod, permissions, "connect", error);
}

let abi: number | undefined;

function landlockAbiHere(): number {
  const system = process.platform === "linux" && abi === undefined ? openSystemCalls() : undefined;
  abi ??= system === undefined ? 0 : landlockAbi(system);
  return abi;
}

/** `spawn ls` is what `node:child_process` says. */
function callOf({ syscall }: SystemError): string {
  return typeof syscall === "string" ? (syscall.split(" ")[0] ?? "") : "";
}

function lacksPath(
  mod: string,
  permissions: Permissions,
  call: string,
  error: SystemError,
): string | undefined {
  if (typeof error.path !== "string") return undefined;
  const path = resolve(error.path);
  const dest = typeof error.dest === "string" ? resolve(error.dest) : undefined;
  const { read = [], write = [] } = permissions;
  if (/^(?:scandir|opendir|readdir|read|readlink)$/.test(call)) return lacks(mod, "read", path, read);
  if (call === "copyfile" && !covers(read, path)) return lacks(mod, "read", path, read);
  if (call === "open") {
    if (!exists(path)) return lacksFolder(mod, path, write);
    const writes = (covers(read, path) && !covers(write, path)) || isWriting(error.stack);
    return writes ? lacks(mod, "write", path, write) : lacks(mod, "read", path, read);
  }
  if (/^f?truncate$/.test(call)) return lacks(mod, "write", path, write);
  // The first path of these is only a text, or only read.
  const isDest = call === "symlink" || call === "copyfile" || covers(write, dirname(path));
  return lacksFolder(mod, dest !== undefined && isDest ? dest : path, write);
}

/** To create or remove a name takes the permission for its folder. */
function lacksFolder(mod: string, path: string, write: readonly string[]): string {
  return lacks(mod, "write", path, write, dirname(path));
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

function lacks(
  mod: string,
  kind: "read" | "write",
  path: string,
  list: readonly string[],
  missing = path,
): string {
  if (covers(list, missing))
    return `${mod} may not ${kind} ${path} although it declares ${declared(kind, list)}: the user that runs modules may not, or the declared path did not exist when the module's process started.`;
  return `${mod} may not ${kind} ${path}: ${advice(kind, missing, list)}`;
}

function lacksProgram(mod: string, { run = [] }: Permissions, path: unknown): string {
  if (typeof path !== "string")
    return `${mod} may not run that program: it declares ${declared("run", run)}.`;
  return `${mod} may not run ${path}: ${advice("run", path, run)}`;
}

/** UDP needs `connect`; with it, the reason is another. */
function lacksDatagrams(mod: string, { connect = [] }: Permissions): string | undefined {
  if (connect.length > 0) return undefined;
  return `${mod} may not use UDP: it declares ${declared("connect", connect)}. Add the port to its 'permissions'.`;
}

function lacksPort(
  mod: string,
  permissions: Permissions,
  kind: "connect" | "listen",
  error: SystemError,
): string {
  const { address } = error;
  const verb = kind === "connect" ? "connect to" : "listen on";
  if (typeof address === "string" && /^[/\0]/.test(address))
    return `${mod} may not ${verb} the Unix socket ${address}: only permissions = "all" allow it.`;
  const list = permissions[kind] ?? [];
  const port = portOf(error);
  if (port === undefined)
    return `${mod} may not ${verb} that address: it declares ${declared(kind, list)}. Add the port to its 'permissions'.`;
  if (list.includes(port))
    return `${mod} may not ${verb} port ${port} although it declares ${declared(kind, list)}: the user that runs modules may not, or it was no TCP port.`;
  return `${mod} may not ${verb} port ${port}: ${advice(kind, port, list)}`;
}

/** Undefined when the error does not tell, or the kernel would have chosen one. */
function portOf(error: SystemError): number | undefined {
  if (typeof error.port === "number") return error.port || undefined;
  const url = urlOf(error);
  if (url !== undefined) return Number(url.port) || (/^(?:http|ws):$/.test(url.protocol) ? 80 : 443);
  // Bun.serve has it in the message only: `permission denied 127.0.0.1:8080`.
  return Number(/:(\d+)$/.exec(String(error.message))?.[1]) || undefined;
}

/** `fetch` tells its URL as the path, and no system call; a WebSocket tells it in its message. */
function urlOf({ path, message }: SystemError): URL | undefined {
  const url = path ?? /^WebSocket connection to '([^']*)' failed/.exec(String(message))?.[1];
  if (typeof url !== "string" || !/^(?:http|ws)s?:/.test(url)) return undefined;
  return URL.parse(url) ?? undefined;
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
