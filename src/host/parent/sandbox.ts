import { accessSync, constants, readFileSync, realpathSync, statSync } from "node:fs";
import { delimiter, dirname, isAbsolute, join } from "node:path";
import { VeripyError } from "../../base/errors.ts";
import { reasonOf } from "../../base/plain-reason.ts";
import type { Permissions } from "../../manifest/permissions.ts";
import { fileRights, readRights, runRights, type SandboxRules, writeRights } from "../sandbox-rules.ts";
import { interpreterOf } from "./interpreter-of.ts";

/** Where a process runs, for what the runtime itself needs. */
export interface RuntimePlace {
  /** Undefined for the executable; of a run from the sources, the folder that has them and their packages. */
  readonly sources: string | undefined;
  /** The module's own temporary folder. */
  readonly temporary: string;
  /** Where `run` looks names up, as `PATH`. */
  readonly path: string;
}

/** What every process of the runtime reads; what is not there is left out. */
const runtimeFiles = [
  "/dev/urandom",
  "/dev/random",
  "/dev/zero",
  "/etc/ld.so.cache",
  "/etc/localtime",
  "/usr/share/zoneinfo",
  "/proc/self",
  "/proc/cpuinfo",
  "/proc/meminfo",
  "/proc/stat",
  "/proc/uptime",
  "/proc/loadavg",
  "/proc/version",
  "/proc/sys/vm/overcommit_memory",
  "/proc/sys/vm/mmap_min_addr",
  "/sys/devices/system/cpu",
  "/sys/kernel/mm/transparent_hugepage/enabled",
];
/** Names, and the certificates of public servers. */
const networkFiles = [
  "/etc/resolv.conf",
  "/etc/hosts",
  "/etc/host.conf",
  "/etc/nsswitch.conf",
  "/etc/gai.conf",
  "/etc/services",
  "/etc/ssl",
  "/etc/pki/tls",
  "/etc/pki/ca-trust",
  "/usr/share/ca-certificates",
  "/usr/local/share/ca-certificates",
];
const libraryFolders = ["/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib"];

/**
 * The rules for a module with these permissions. Throws `bad_module` with a sentence that continues the module's name,
 * for a program that cannot be run.
 */
export function sandboxRules(permissions: Permissions, place: RuntimePlace): SandboxRules {
  const rights = new Map<string, number>();
  const grant = (paths: Iterable<string>, right: number) => {
    for (const path of paths) rights.set(path, (rights.get(path) ?? 0) | right);
  };
  const { read = [], write = [], run = [], connect = [], listen = [] } = permissions;
  grant(["/proc/self/exe", ...interpreters(process.execPath)], runRights);
  grant([...runtimeFiles, ...sharedLibraries()], readRights);
  grant(["/dev/null"], fileRights.readFile | fileRights.writeFile);
  grant([place.temporary], readRights | writeRights);
  if (place.sources !== undefined) {
    grant([place.sources], readRights);
    // The resolver lists every folder above the file that it starts from.
    grant(["/"], fileRights.readDir);
  }
  grant(read, readRights);
  grant(write, writeRights);
  if (connect.length > 0) grant(networkFiles, readRights);
  if (run.length > 0) grant(libraryFolders, readRights);
  for (const name of run) {
    const program = findProgram(name, place.path);
    grant([program, ...interpreters(program)], runRights);
  }
  return { paths: [...rights], connect, listen };
}

/** The real path of a program. Throws `bad_module` when there is none. */
export function findProgram(name: string, path: string): string {
  const places = isAbsolute(name)
    ? [name]
    : path
        .split(delimiter)
        .filter(isAbsolute)
        .map((folder) => join(folder, name));
  for (const place of places) {
    try {
      accessSync(place, constants.X_OK);
      if (statSync(place).isFile()) return realpathSync(place);
      if (isAbsolute(name)) throw new VeripyError("bad_module", `may not run ${name}: it is not a file.`);
    } catch (error) {
      if (error instanceof VeripyError) throw error;
      if (isAbsolute(name))
        throw new VeripyError("bad_module", `cannot run ${name}: ${reasonOf(error)}.`, { cause: error });
    }
  }
  throw new VeripyError("bad_module", `cannot run '${name}': there is no such program in PATH.`);
}

/** What the kernel starts before `program`, and before that. A script's interpreter is an ELF file with a loader. */
function interpreters(program: string): string[] {
  const found: string[] = [];
  for (let next: string | undefined = program; next !== undefined && found.length < 4; ) {
    try {
      next = interpreterOf(next);
    } catch {
      break;
    }
    if (next !== undefined) found.push(next);
  }
  return found;
}

let libraries: readonly string[] | undefined;

/** The shared libraries that this executable has loaded, by the links that lead to them too. */
function sharedLibraries(): readonly string[] {
  if (libraries !== undefined) return libraries;
  const maps = readFileSync("/proc/self/maps", "utf8");
  const files = new Set([...maps.matchAll(/\s(\/\S+\.so(?:\.\d+)*)$/gm)].map((match) => match[1] ?? ""));
  libraries = [...files];
  return libraries;
}

/** The folder of the sources that this process was started from; undefined for the executable. */
export function sourcesFolder(entry: string): string {
  return dirname(dirname(dirname(entry)));
}
