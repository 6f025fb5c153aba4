import { VeripyError } from "./errors.ts";

/** The messages of errno(3), in terms of a file or a connection. */
const systemReasons: Record<string, string> = {
  EACCES: "permission denied",
  EPERM: "permission denied",
  ENOENT: "it does not exist",
  ENOTDIR: "part of the path is a file, not a directory",
  EISDIR: "it is a directory, not a file",
  EEXIST: "it already exists",
  ELOOP: "its symbolic links form a loop",
  ENAMETOOLONG: "its name is too long",
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is exceeded",
  EROFS: "the file system is read-only",
  EIO: "a disk error occurred",
  EMFILE: "this process has too many open files",
  ENFILE: "this machine has too many open files",
  EADDRINUSE: "the port is in use",
  EADDRNOTAVAIL: "this machine has no such address",
  ECONNREFUSED: "nothing is listening there",
  ECONNRESET: "the other end reset the connection",
  EPIPE: "the other end closed the connection",
  ETIMEDOUT: "there was no answer",
  EHOSTUNREACH: "there is no route to that host",
  ENETUNREACH: "there is no route to that network",
  EPROTO: "the answer was not TLS 1.3",
};

/**
 * Why an operation failed, as a clause without a full stop. Says in words what the system would give as the name of a
 * call or an error code. Never throws.
 */
export function reasonOf(thrown: unknown): string {
  if (thrown instanceof VeripyError) return thrown.message.replace(/\.$/, "");
  const code = thrown instanceof Error && "code" in thrown ? String(thrown.code) : undefined;
  if (code === "ERR_ENCODING_INVALID_ENCODED_DATA") return "it is not UTF-8 text";
  if (code !== undefined && /^E[A-Z0-9]+$/.test(code))
    return systemReasons[code] ?? `the system reports ${code}`;
  return thrown instanceof Error
    ? thrown.message.replace(/\.$/, "") || thrown.name
    : "an unknown error occurred";
}
