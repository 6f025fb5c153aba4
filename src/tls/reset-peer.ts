import { openLibc } from "../base/libc.ts";

// asm-generic/socket.h and linux/socket.h; the same on every Linux architecture that Bun runs on.
const SOL_SOCKET = 1;
const SO_PEERNAME = 28;
const AF_INET = 2;
const AF_INET6 = 10;
/** struct sockaddr_in has 16 bytes, with the address at offset 4. sockaddr_in6 has 28, with the address at offset 8. */
const shapes = [
  { length: 28, family: AF_INET6 },
  { length: 16, family: AF_INET },
] as const;

const libcFunctions = { getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" } } as const;
let libc: ReturnType<typeof openLibc<typeof libcFunctions>>;

/**
 * The address of a peer that reset the connection before it was accepted. getpeername(2) no longer returns it, but a
 * socket option does. Undefined when it is unknown, and on systems other than Linux.
 */
export function resetPeerAddress(descriptor: number): string | undefined {
  if (process.platform !== "linux") return undefined;
  libc ??= openLibc(libcFunctions);
  const bytes = Buffer.alloc(28);
  for (const { length, family } of shapes) {
    const result = libc?.symbols.getsockopt(
      descriptor,
      SOL_SOCKET,
      SO_PEERNAME,
      bytes,
      new Uint32Array([length]),
    );
    if (result !== 0 || bytes.readUInt16LE(0) !== family) continue;
    return family === AF_INET ? bytes.subarray(4, 8).join(".") : ipv6Text(bytes.subarray(8, 24));
  }
  return undefined;
}

/** Not shortened, because nobody reads it. */
function ipv6Text(bytes: Buffer): string {
  const isMapped = bytes.readBigUInt64BE(0) === 0n && bytes.readUInt32BE(8) === 0xffff;
  if (isMapped) return bytes.subarray(12).join(".");
  return Array.from({ length: 8 }, (_, group) => bytes.readUInt16BE(group * 2).toString(16)).join(":");
}
