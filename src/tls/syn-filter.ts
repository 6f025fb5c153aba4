import { openLibc } from "../base/libc.ts";

// asm-generic/socket.h and linux/filter.h; the same on every Linux architecture that Bun runs on.
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const SO_DETACH_FILTER = 27;
const SKF_NET_OFF = -0x100000;
const loadWord = 0x20;
const loadByte = 0x30;
const shiftRight = 0x74;
const jump = 0x05;
const jumpIfEqual = 0x15;
const end = 0x06;
const descriptionBytes = 16;

type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, operand: number];

const drop: Instruction = [end, 0, 0, 0];
const accept: Instruction = [end, 0, 0, 0xffff_ffff];

const libcFunctions = { setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" } } as const;
let libc: ReturnType<typeof openLibc<typeof libcFunctions>>;

/**
 * Makes the kernel drop packets from `networks` (see `networkOf`) to a listening socket, replacing any earlier list. They
 * can't connect, but their existing connections continue. Does nothing on systems other than Linux.
 */
export function dropSyns(listener: number, networks: readonly string[]): void {
  if (process.platform !== "linux") return;
  libc ??= openLibc(libcFunctions);
  if (libc === undefined) return;
  const { setsockopt } = libc.symbols;
  if (networks.length === 0) {
    setsockopt(listener, SOL_SOCKET, SO_DETACH_FILTER, new Uint8Array(4), 4);
    return;
  }
  setsockopt(listener, SOL_SOCKET, SO_ATTACH_FILTER, program(synFilter(networks)), descriptionBytes);
}

/** Classic BPF that compares an IPv4 packet's source address, or the upper half of an IPv6 packet's. */
function synFilter(networks: readonly string[]): Instruction[] {
  const ipv4 = networks
    .filter((network) => !network.includes(":"))
    .flatMap((network) => [[jumpIfEqual, 0, 1, ipv4Number(network)] as const, drop]);
  const ipv6 = networks
    .filter((network) => network.includes(":"))
    .flatMap((network) => {
      const [high, low] = ipv6Halves(network);
      return [
        [loadWord, 0, 0, SKF_NET_OFF + 8] as const,
        [jumpIfEqual, 0, 3, high] as const,
        [loadWord, 0, 0, SKF_NET_OFF + 12] as const,
        [jumpIfEqual, 0, 1, low] as const,
        drop,
      ];
    });
  return [
    [loadByte, 0, 0, SKF_NET_OFF],
    [shiftRight, 0, 0, 4],
    [jumpIfEqual, 0, 1, 6],
    [jump, 0, 0, 1 + ipv4.length + 1],
    [loadWord, 0, 0, SKF_NET_OFF + 12],
    ...ipv4,
    accept,
    ...ipv6,
    accept,
  ];
}

function ipv4Number(network: string): number {
  return network.split(".").reduce((number, byte) => number * 256 + Number(byte), 0);
}

function ipv6Halves(network: string): [high: number, low: number] {
  const [a = 0, b = 0, c = 0, d = 0] = network.split(":", 4).map((group) => Number.parseInt(group, 16));
  return [a * 65_536 + b, c * 65_536 + d];
}

/**
 * struct sock_fprog { unsigned short len; struct sock_filter *filter; }, directly followed by the array it points to, of
 * struct sock_filter { __u16 code; __u8 jt, jf; __u32 k; }.
 */
function program(instructions: readonly Instruction[]): Uint8Array {
  const { ptr } = require("bun:ffi") as typeof import("bun:ffi");
  const bytes = new Uint8Array(descriptionBytes + instructions.length * 8);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, instructions.length, true);
  view.setBigUint64(8, BigInt(ptr(bytes) + descriptionBytes), true);
  instructions.forEach(([code, ifTrue, ifFalse, operand], index) => {
    const at = descriptionBytes + index * 8;
    view.setUint16(at, code, true);
    view.setUint8(at + 2, ifTrue);
    view.setUint8(at + 3, ifFalse);
    view.setUint32(at + 4, operand, true);
  });
  return bytes;
}
