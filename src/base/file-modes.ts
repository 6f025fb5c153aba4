import type { Stats } from "node:fs";
import { realpath, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isSystemError, VeripyError } from "./errors.ts";
import { shellQuoted } from "./shell-quote.ts";

// `chmod(2)` and `inode(7)`.
const S_IWOTH = 0o002;
const S_IWGRP = 0o020;
const S_ISVTX = 0o1000;

/** Whether every user may write to it. Always false on Windows, which keeps access rights elsewhere. */
export function isWorldWritable(mode: number): boolean {
  return process.platform !== "win32" && (mode & S_IWOTH) !== 0;
}

/** The error for a path that every user may write to. */
export function worldWritable(path: string, mode: number): VeripyError {
  return new VeripyError(
    "bad_identity",
    `Cannot use ${path}: every user of this machine can write to it (mode ${octal(mode)}). ` +
      `Check its contents, then run: chmod o-w ${shellQuoted(path)}`,
  );
}

/** Throws `bad_identity` when every user may write to the file. A missing file is fine. */
export async function refuseWorldWritable(path: string): Promise<void> {
  const mode = (await statusOf(path))?.mode ?? 0;
  if (isWorldWritable(mode)) throw worldWritable(path, mode);
}

/**
 * Checks the files that decide whom a server trusts: its key directory, the invitations there, and the trust file.
 * Throws `bad_identity`, with the command that fixes it, when every user may write to one of them. Returns a warning for
 * each that a group may write to. Missing files are fine.
 */
export async function checkServerFiles(certsDir: string, trustedKeysPath: string): Promise<string[]> {
  // Write access to a directory allows replacing its files, unless it is sticky like /tmp.
  for (const folder of new Set([trustedKeysPath, await realPathOf(trustedKeysPath)].map(dirname))) {
    const status = await statusOf(folder);
    if (status === undefined || (status.mode & S_ISVTX) !== 0) continue;
    if (isWorldWritable(status.mode)) throw worldWritable(folder, status.mode);
  }
  return checkFiles([certsDir, join(certsDir, "invitations.json"), trustedKeysPath]);
}

/** The same for the files that decide which server a client trusts: its key directory and the servers' keys there. */
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
        `Every member of its group can write to ${path} (mode ${octal(mode)}). Unless that is intended, run: ` +
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
    // The caller reports these errors when it reads the file.
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
