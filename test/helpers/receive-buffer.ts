import { openLibc } from "../../src/base/libc.ts";
import { descriptorOf } from "../../src/tls/descriptors.ts";

const SOL_SOCKET = 1;
const SO_RCVBUF = 8;

/** Makes the kernel keep about `bytes` of what a socket has received and its program has not read. Linux only. */
export function limitReceiveBuffer(socket: object, bytes: number): void {
  if (process.platform !== "linux") return;
  const libc = openLibc({ setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" } });
  libc?.symbols.setsockopt(descriptorOf(socket), SOL_SOCKET, SO_RCVBUF, new Int32Array([bytes]), 4);
  libc?.close();
}
