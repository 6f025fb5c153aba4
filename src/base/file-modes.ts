import type { Stats } from "node:fs";
import { realpath, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isSystemError, VeripyError } from "./errors.ts";
import { shellQuoted } from "./shell-quote.ts";

// `chmod(2)` and `inode(7)`.
const S_IWOTH = 0o002;
const S_IWGRP = 0o020;
const S_ISVTX = 0o1000;

/** True when everyone on this machine may write it. On Windows the mode does not say who may. */
export function isWorldWritable(mode: number): boolean {
  return process.platform !== "win32" && (mode & S_IWOTH) !== 0;
}

/** What to tell the operator of a path that everyone on this machine may write. */
export function worldWritable(path: string, mode: number): VeripyError {
  return new VeripyError(
    "bad_identity",
    `Cannot use ${path}: anyone on this machine may write it (mode ${octal(mode)}). ` +
      `Check what it says, then type: chmod o-w ${shellQuoted(path)}`,
  );
}

/** Throws `bad_identity` when everyone on this machine may write the file. One that is not there is fine. */
export async function refuseWorldWritable(path: string): Promise<void> {
  const mode = (await statusOf(path))?.mode ?? 0;
  if (isWorldWritable(mode)) throw worldWritable(path, mode);
}

/**
 * What decides whom a server trusts: its folder of keys, the invitations in it, and the trust file. Throws
 * `bad_identity` with the command that corrects it when everyone on this machine may write one of these. Gives a
 * warning for each that the members of a group may write. What is not there is fine.
 */
export async function checkServerFiles(certsDir: string, trustedKeysPath: string): Promise<string[]> {
  // Write access to a folder allows replacing its files, unless it is sticky, as /tmp is.
  for (const folder of new Set([trustedKeysPath, await realPathOf(trustedKeysPath)].map(dirname))) {
    const status = await statusOf(folder);
    if (status === undefined || (status.mode & S_ISVTX) !== 0) continue;
    if (isWorldWritable(status.mode)) throw worldWritable(folder, status.mode);
  }
  return checkFiles([certsDir, join(certsDir, "invitations.json"), trustedKeysPath]);
}

/** The same of what decides which server a client trusts: its folder of keys, and the servers' keys in it. */
export function checkClientFiles(certsDir: string): Promise<string[]> {
  return checkFiles([certsDir, join(certsDir, "known-servers.json"), join(certsDir, "server.crt")]);
}

async function checkFiles(paths: readonly string[]): Promise<string[]> {
  const warnings: string[] = [];
  for (const path of paths) {
    const mode = (await statusOf(path))?.mode ?? 0;
    if (isWorldWritable(mode)) throw worldWritable(path, mode);
    if (process.platform !== "win32" && (mode & S_IWGRP) !== 0) {
      warnings.push(
        `The members of its group may write ${path} (mode ${octal(mode)}). Unless they should, type: ` +
          `chmod g-w ${shellQuoted(path)}`,
      );
    }
  }
  return warnings;
}

async function statusOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    // Other troubles are reported by those who read it.
    if (isSystemError(error, "ENOENT", "ENOTDIR", "EACCES", "ELOOP")) return undefined;
    throw error;
  }
}

async function realPathOf(path: string): Promise<string> {
  return realpath(path).catch(() => path);
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8);
}
