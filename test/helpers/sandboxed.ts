import { afterAll } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { openLibc } from "../../src/base/libc.ts";
import type { VeripyClient } from "../../src/index.ts";
import type { DeclaredPermissions } from "../../src/manifest/permissions.ts";
import type { Running } from "./processes.ts";
import { Site } from "./site.ts";
import { connectTo } from "./witness.ts";

/** The Landlock ABI of this kernel; 0 where there is none. */
export const landlockAbi = Math.max(
  0,
  Number(
    process.platform === "linux"
      ? openLibc({ syscall: { args: ["i64", "u64", "u64", "u64"], returns: "i64" } })?.symbols.syscall(
          444,
          0,
          0,
          1,
        )
      : 0,
  ),
);
/** False where modules cannot be kept from signals and abstract sockets: the tests of the sandbox are then skipped. */
export const hasSandbox = landlockAbi >= 6;
/** The name of a group of tests; it says why they are skipped. */
export const sandboxed = (what: string) =>
  hasSandbox
    ? what
    : `${what} (skipped: needs Landlock ABI 6, Linux 6.12; this system has ABI ${landlockAbi})`;

/** Numbers of system calls, for attacks that the runtime has no function for. */
const x64 = {
  socket: 41,
  connect: 42,
  sendto: 44,
  sendmsg: 46,
  sendmmsg: 307,
  setsockopt: 54,
  bind: 49,
  listen: 50,
  socketpair: 53,
  getxattr: 191,
  setxattr: 188,
  ptrace: 101,
  mmap: 9,
  getpid: 39,
  unshare: 272,
  sched_setaffinity: 203,
  setpriority: 141,
  prlimit64: 302,
  memfd_create: 319,
  inotify_init1: 294,
  inotify_add_watch: 254,
  process_vm_readv: 310,
  openat: 257,
  open_by_handle_at: 304,
  bpf: 321,
  mount: 165,
  sethostname: 170,
  ioctl: 16,
  fcntl: 72,
  kill: 62,
  tgkill: 234,
  sched_setscheduler: 144,
  ioprio_set: 251,
  process_vm_writev: 311,
  kcmp: 312,
  userfaultfd: 323,
  perf_event_open: 298,
  keyctl: 250,
  chroot: 161,
  setns: 308,
  reboot: 169,
  clone: 56,
  execveat: 322,
};
const arm64: typeof x64 = {
  socket: 198,
  connect: 203,
  sendto: 206,
  sendmsg: 211,
  sendmmsg: 269,
  setsockopt: 208,
  bind: 200,
  listen: 201,
  socketpair: 199,
  getxattr: 8,
  setxattr: 5,
  ptrace: 117,
  mmap: 222,
  getpid: 172,
  unshare: 97,
  sched_setaffinity: 122,
  setpriority: 140,
  prlimit64: 261,
  memfd_create: 279,
  inotify_init1: 26,
  inotify_add_watch: 27,
  process_vm_readv: 270,
  openat: 56,
  open_by_handle_at: 265,
  bpf: 280,
  mount: 40,
  sethostname: 161,
  ioctl: 29,
  fcntl: 25,
  kill: 129,
  tgkill: 131,
  sched_setscheduler: 119,
  ioprio_set: 30,
  process_vm_writev: 271,
  kcmp: 272,
  userfaultfd: 282,
  perf_event_open: 241,
  keyctl: 219,
  chroot: 51,
  setns: 268,
  reboot: 142,
  clone: 220,
  execveat: 281,
};
const numbers = {
  ...(process.arch === "arm64" ? arm64 : x64),
  io_uring_setup: 425,
  pidfd_send_signal: 424,
  pidfd_open: 434,
  pidfd_getfd: 438,
};

/** What an attack gets in the module's process. */
export interface Tools {
  readonly fs: typeof import("node:fs");
  readonly net: typeof import("node:net");
  readonly dgram: typeof import("node:dgram");
  readonly os: typeof import("node:os");
  readonly cp: typeof import("node:child_process");
  readonly ffi: typeof import("bun:ffi");
  readonly nr: typeof numbers;
  /** `syscall(2)`: its result, or -errno. Texts and bytes are passed by address. */
  sys(number: number, ...args: readonly (number | string | Uint8Array)[]): number;
}

/** The source of a module that runs any function it is sent; undefined: it declares no permissions. */
export function attackedModule(permissions: DeclaredPermissions | undefined): string {
  const declaration =
    permissions === undefined ? "" : `export const permissions = ${JSON.stringify(permissions)} as const;`;
  return `
    import * as fs from "node:fs";
    import * as net from "node:net";
    import * as dgram from "node:dgram";
    import * as os from "node:os";
    import * as cp from "node:child_process";
    import * as ffi from "bun:ffi";
    ${declaration}
    const u = "u64" as const;
    const { syscall, __errno_location } = ffi.dlopen(${JSON.stringify(libcName)}, {
      syscall: { args: [u, u, u, u, u, u, u], returns: "i64" },
      __errno_location: { args: [], returns: "ptr" },
    }).symbols;
    function sys(number: number, ...given: (number | string | Uint8Array)[]): number {
      const kept = given.map((value) => typeof value === "string" ? Buffer.from(value + "\\0") : value);
      const [a, b, c, d, e, f] = [...kept, 0, 0, 0, 0, 0, 0].map((value) =>
        typeof value === "number" ? BigInt.asUintN(64, BigInt(value)) : BigInt(ffi.ptr(value as Uint8Array)));
      const result = Number((syscall as any)(number, a, b, c, d, e, f));
      return result === -1 ? -ffi.read.i32(__errno_location()!, 0) : result;
    }
    const tools = { fs, net, dgram, os, cp, ffi, sys, nr: ${JSON.stringify(numbers)} };
    export async function execute(args: string) {
      const { attack, arg } = JSON.parse(args);
      try {
        const value = await (0, eval)("(" + attack + ")")(tools, arg);
        return JSON.stringify({ value: value ?? null });
      } catch (error: any) {
        return JSON.stringify({ refused: String(error.code ?? error.name), message: String(error.message) });
      }
    }
  `;
}

const libcName = (() => {
  for (const name of ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"]) {
    try {
      require("bun:ffi")
        .dlopen(name, { getpid: { args: [], returns: "i32" } })
        .close();
      return name;
    } catch {
      // Try the other C library.
    }
  }
  return "libc.so.6";
})();

export type Outcome<T> = { readonly value: T } | { readonly refused: string; readonly message: string };

/** Runs `attack`, whose source is sent to the module: it sees its parameters and nothing of the test. */
export type Attempt = <T, A>(
  mod: string,
  attack: (tools: Tools, arg: A) => T | Promise<T>,
  arg?: A,
) => Promise<Outcome<T>>;

export interface AttackedServer {
  readonly site: Site;
  readonly server: Running;
  readonly client: VeripyClient;
  readonly attempt: Attempt;
}

/** A served site with a module for each name; all of it ends after the tests of the file. */
export async function attackedServer(
  modules: (site: Site) => Record<string, DeclaredPermissions | undefined>,
  flags: readonly string[] = [],
): Promise<AttackedServer> {
  const site = await Site.create();
  afterAll(() => site[Symbol.asyncDispose]());
  for (const [name, permissions] of Object.entries(modules(site)))
    await site.write(`${name}.ts`, attackedModule(permissions));
  // Modules under "all" have the server's temporary folder.
  const temporary = join(site.path, "tmp");
  mkdirSync(temporary);
  const server = await site.start([...flags], {
    ...(process.env as Record<string, string>),
    TMPDIR: temporary,
  });
  const client = await connectTo(site);
  afterAll(() => client.close());
  const attempt: Attempt = async (mod, attack, arg) => {
    const { result } = await client.exec(`${mod}.ts`, JSON.stringify({ attack: String(attack), arg }));
    return JSON.parse(result);
  };
  return { site, server, client, attempt };
}

/** What the attack returned. Throws when it was refused. */
export function worked<T>(outcome: Outcome<T>): T {
  if ("value" in outcome) return outcome.value;
  throw new Error(`It was refused: ${outcome.refused}: ${outcome.message}`);
}

/** The code of the refusal. Throws when the attack succeeded. */
export function refusal(outcome: Outcome<unknown>): string {
  if ("refused" in outcome) return outcome.refused;
  throw new Error(`It succeeded with ${JSON.stringify(outcome.value)}.`);
}
