import { readFileSync, writeFileSync, writeSync } from "node:fs";
import { messageOf } from "../../base/errors.ts";
import { openLibc } from "../../base/libc.ts";
import { type SandboxRules, sandboxVariable } from "../sandbox-rules.ts";
import { openSystemCalls } from "../system-calls.ts";
import { controlDescriptor } from "../transport.ts";
import { dropCapabilities } from "./capabilities.ts";
import { restrictByLandlock } from "./landlock.ts";
import { seccompFilter } from "./seccomp.ts";

const PR_SET_SECCOMP = 22;
const SECCOMP_MODE_FILTER = 2;
const PR_SET_NO_NEW_PRIVS = 38;

/**
 * Restricts this process to the rules in its environment and starts it anew, since Landlock binds the calling thread and
 * what it starts, and the runtime has more threads than this one. Returns only where there are no rules: the second
 * time. A kernel that refuses ends the process, which has then said why on its control channel.
 */
export function enterSandbox(): void {
  const json = process.env[sandboxVariable];
  if (json === undefined || process.platform !== "linux") return;
  try {
    // The kernel chooses modules first when memory is short; the file cannot be written later.
    writeFileSync("/proc/self/oom_score_adj", "500");
  } catch {
    // Not permitted in some containers.
  }
  try {
    restrict(JSON.parse(json) as SandboxRules);
    startAnew();
  } catch (error) {
    const message = `The sandbox could not be set up: ${messageOf(error)}.`;
    // As in `runModuleHost`: the control channel is a socket, or standard output.
    const channel = process.argv[4] === "pipes" ? 1 : controlDescriptor;
    writeSync(channel, `host:failed:0 ${JSON.stringify({ error: message })}\n`);
  }
  process.exit(1);
}

function restrict(rules: SandboxRules): void {
  const { ptr } = require("bun:ffi") as typeof import("bun:ffi");
  const system = openSystemCalls();
  const libc = openLibc({ prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" } });
  if (system === undefined || libc === undefined) throw new Error("the C library cannot be called");
  const { prctl } = libc.symbols;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) !== 0) throw new Error("prctl refused no_new_privs");
  restrictByLandlock(system, ptr, rules);
  dropCapabilities(system, ptr);
  const filter = seccompFilter(rules);
  if (filter === undefined) return;
  // `struct sock_fprog`: u16 length, padding, u64 address.
  const program = new DataView(new ArrayBuffer(16));
  program.setUint16(0, filter.length / 8, true);
  program.setBigUint64(8, BigInt(ptr(filter)), true);
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ptr(new Uint8Array(program.buffer)), 0, 0) !== 0)
    throw new Error("the kernel refused the system call filter");
}

/** `execve(2)` of this very executable, with the same arguments, and an environment without the rules. */
function startAnew(): void {
  const { ptr } = require("bun:ffi") as typeof import("bun:ffi");
  const libc = openLibc({ execve: { args: ["ptr", "ptr", "ptr"], returns: "i32" } });
  if (libc === undefined) throw new Error("the C library cannot be called");
  const commandLine = readFileSync("/proc/self/cmdline", "utf8").split("\0").slice(0, -1);
  const environment = Object.entries(process.env)
    .filter(([name]) => name !== sandboxVariable)
    .map(([name, value]) => `${name}=${value}`);
  const kept: Uint8Array[] = [];
  const text = (value: string) => {
    const bytes = Buffer.from(`${value}\0`);
    kept.push(bytes);
    return BigInt(ptr(bytes));
  };
  const list = (values: readonly string[]) => {
    const bytes = new Uint8Array(new BigUint64Array([...values.map(text), 0n]).buffer);
    kept.push(bytes);
    return ptr(bytes);
  };
  const path = Buffer.from("/proc/self/exe\0");
  libc.symbols.execve(ptr(path), list(commandLine), list(environment));
  throw new Error(`the executable cannot be started again (${kept.length} arguments)`);
}
