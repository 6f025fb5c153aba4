import type { Command } from "commander";
import { VeripyError } from "../index.ts";
import { hostAndPort } from "./addresses.ts";
import { readText } from "./read-text.ts";

/** A connection for each stays open, and most systems allow a process 1,024 descriptors. */
const maxHosts = 500;

interface HostsFlags {
  /** A file, or `-` for standard input. */
  hosts?: string;
  /** Standard input holds the arguments. */
  stdin?: boolean;
}

/**
 * Notes the hosts that the command line names with `--host`. What is returned resolves with the list of hosts that a command
 * runs on, as they were typed; undefined for a command that runs on one. Throws `bad_config`.
 */
export function collectHosts(command: Command): (flags: HostsFlags) => Promise<string[] | undefined> {
  const [before, after]: [string[], string[]] = [[], []];
  command.parent?.on("option:host", (host: string) => before.push(host));
  command.on("option:host", (host: string) => after.push(host));
  return async ({ hosts: file, stdin = false }) => {
    // As with every flag, what stands after the command's name wins.
    const typed = after.length > 0 ? after : before;
    if (file === undefined) {
      if (typed.length < 2) return undefined;
      const twice = typed.find((host, index) => typed.indexOf(host) < index);
      if (twice !== undefined) throw bad(`--host names ${twice} twice.`);
      return atMost(typed, "--host");
    }
    if (typed.length > 0) throw bad("The hosts come from --host or from --hosts. Give only one of them.");
    if (file === "-" && stdin)
      throw bad("Standard input holds either the hosts (--hosts -) or the arguments (--stdin), not both.");
    const name = file === "-" ? "standard input" : file;
    return atMost(parseHostList(await readText(file), name), name);
  };
}

/**
 * The hosts of a list, one HOST or HOST:PORT a line, as they were typed. Empty lines, and what follows a `#`, are skipped.
 * Throws `bad_config`, naming the line, for anything else, for a host that is there twice, and when there is none.
 */
export function parseHostList(list: string, name: string): string[] {
  const lines = new Map<string, number>();
  for (const [index, line] of list.split(/\r?\n/).entries()) {
    const host = line.replace(/(^|\s)#.*$/, "").trim();
    if (host === "") continue;
    const place = `${name}: line ${index + 1}`;
    const parsed = hostAndPort.safeParse(host);
    if (!parsed.success) throw bad(`${place}: '${host}' is not a host. ${parsed.error.issues[0]?.message}`);
    const before = lines.get(host);
    if (before !== undefined) throw bad(`${place}: ${host} is in line ${before} already.`);
    lines.set(host, index + 1);
  }
  if (lines.size === 0) throw bad(`${name} names no hosts.`);
  return [...lines.keys()];
}

function atMost(hosts: string[], name: string): string[] {
  if (hosts.length <= maxHosts) return hosts;
  throw bad(`${name} gives ${hosts.length} hosts; the limit is ${maxHosts}.`);
}

function bad(message: string): VeripyError {
  return new VeripyError("bad_config", message);
}
