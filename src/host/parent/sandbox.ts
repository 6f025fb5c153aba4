import { accessSync, constants, readFileSync, realpathSync, statSync } from "node:fs";
import { delimiter, dirname, isAbsolute, join } from "node:path";
import { VeripyError } from "../../base/errors.ts";
import { reasonOf } from "../../base/plain-reason.ts";
import type { Permissions } from "../../manifest/permissions.ts";
import { fileRights, readRights, runRights, type SandboxRules, writeRights } from "../sandbox-rules.ts";
import { interpreterOf } from "./interpreter-of.ts";

/** Where a process runs, for what the runtime itself needs. */
export interface RuntimePlace {
  /** What a runtime reads that is started from sources; nothing for the executable. */
  readonly sources: readonly string[];
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

/** The rules for `mod` with these permissions. Throws `bad_module` for a program that cannot be run. */
export function sandboxRules(mod: string, permissions: Permissions, place: RuntimePlace): SandboxRules {
  const rights = new Map<string, number>();
  const grant = (paths: Iterable<string>, right: number) => {
    for (const path of paths) rights.set(path, (rights.get(path) ?? 0) | right);
  };
  const { read = [], write = [], run = [], connect = [], listen = [] } = permissions;
  if (process.platform === "linux") {
    grant(["/proc/self/exe", ...interpreters(process.execPath)], runRights);
    grant([...runtimeFiles, ...sharedLibraries()], readRights);
    grant(["/dev/null"], fileRights.readFile | fileRights.writeFile);
  }
  grant(place.sources, readRights);
  // The resolver lists every folder above the file that it starts from.
  if (place.sources.length > 0) grant(["/"], fileRights.readDir);
  grant(read, readRights);
  grant(write, writeRights);
  if (connect.length > 0) grant(networkFiles, readRights);
  if (run.length > 0) grant(libraryFolders, readRights);
  for (const name of run) {
    const program = findProgram(mod, name, place.path);
    grant([program, ...interpreters(program)], runRights);
  }
  return { paths: [...rights], connect, listen };
}

/** The same rules for one process, which may do everything in its temporary folder. */
export function withTemporaryFolder(rules: SandboxRules, folder: string): SandboxRules {
  return { ...rules, paths: [...rules.paths, [folder, readRights | writeRights]] };
}

/** The real path of a program that `mod` declares. Throws `bad_module` when it cannot be run. */
function findProgram(mod: string, name: string, path: string): string {
  if (!isAbsolute(name)) {
    const folders = path.split(delimiter).filter(isAbsolute);
    const found = folders
      .map((folder) => join(folder, name))
      .find((place) => whyNotRunnable(place) === undefined);
    if (found !== undefined) return realpathSync(found);
  }
  const reason = isAbsolute(name) ? whyNotRunnable(name) : "there is no such program in PATH";
  if (reason === undefined) return realpathSync(name);
  throw new VeripyError(
    "bad_module",
    `${mod} declares run: [${JSON.stringify(name)}], which cannot be run: ${reason}.`,
  );
}

/** Undefined for a file that this user may execute. */
function whyNotRunnable(path: string): string | undefined {
  try {
    if (!statSync(path).isFile()) return "it is not a file";
    accessSync(path, constants.X_OK);
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
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

/**
 * What is read by a process that starts at `entry`, `src/host/child/entry.ts` of the sources or of the package: `src`,
 * and the packages that it imports, in its own `node_modules` or in one further up.
 */
export function sourcePaths(entry: string): string[] {
  const sources = dirname(dirname(dirname(entry)));
  const paths = [sources];
  for (let folder = dirname(sources); ; folder = dirname(folder)) {
    paths.push(...["package.json", "tsconfig.json", "node_modules"].map((name) => join(folder, name)));
    if (folder === dirname(folder)) return paths;
  }
}
