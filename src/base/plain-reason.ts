import { VeripyError } from "./errors.ts";

/** What errno(3) says, in the words of a person who looks at a file or a connection. */
const systemReasons: Record<string, string> = {
  EACCES: "this user has no right to it",
  EPERM: "this user has no right to it",
  ENOENT: "it is not there",
  ENOTDIR: "a part of the path is a file, not a folder",
  EISDIR: "it is a folder, not a file",
  EEXIST: "it is there already",
  ELOOP: "its symbolic links form a loop",
  ENAMETOOLONG: "its name is too long",
  ENOSPC: "the disk is full",
  EDQUOT: "this user's share of the disk is used up",
  EROFS: "the file system is read-only",
  EIO: "the disk does not work",
  EMFILE: "this process has too many files open",
  ENFILE: "this machine has too many files open",
  EADDRINUSE: "the port is in use",
  EADDRNOTAVAIL: "this machine has no such address",
  ECONNREFUSED: "nothing listens there",
  ECONNRESET: "the other end reset the connection",
  EPIPE: "the other end closed the connection",
  ETIMEDOUT: "there was no answer",
  EHOSTUNREACH: "there is no way to that host",
  ENETUNREACH: "there is no way to that network",
  EPROTO: "what came was not TLS 1.3",
};

/**
 * Why something failed that a person asked for: a sentence without its full stop, in plain words where the runtime
 * or the system would name a call or a code. Never throws.
 */
export function reasonOf(thrown: unknown): string {
  if (thrown instanceof VeripyError) return thrown.message.replace(/\.$/, "");
  const code = thrown instanceof Error && "code" in thrown ? String(thrown.code) : undefined;
  if (code === "ERR_ENCODING_INVALID_ENCODED_DATA") return "it is not UTF-8 text";
  if (code !== undefined && /^E[A-Z0-9]+$/.test(code))
    return systemReasons[code] ?? `the system reports ${code}`;
  return thrown instanceof Error ? thrown.message.replace(/\.$/, "") || thrown.name : "of an unknown error";
}
