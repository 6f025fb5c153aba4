import { closeSync, openSync, readSync } from "node:fs";

const PT_INTERP = 3;
const maxInterpreter = 4096;

/**
 * The programs that the kernel starts to run `path`: an ELF file's loader, or a script's `#!` interpreter. Undefined
 * for a file that needs none, such as a static executable. Throws when the file cannot be read.
 */
export function interpreterOf(path: string): string | undefined {
  const fd = openSync(path, "r");
  try {
    const head = readAt(fd, 0, 64);
    if (head.subarray(0, 2).toString("latin1") === "#!")
      return scriptInterpreter(readAt(fd, 0, maxInterpreter));
    return elfInterpreter(fd, head);
  } finally {
    closeSync(fd);
  }
}

function scriptInterpreter(text: Buffer): string | undefined {
  return /^#![ \t]*([^\s\0]+)/.exec(text.toString("latin1"))?.[1];
}

/** 64-bit little-endian ELF, as on every system that VeriPy runs on; see elf(5). */
function elfInterpreter(fd: number, head: Buffer): string | undefined {
  if (head.length < 64 || head.readUInt32BE(0) !== 0x7f454c46 || head[4] !== 2) return undefined;
  const tableAt = Number(head.readBigUInt64LE(32));
  const entryBytes = head.readUInt16LE(54);
  const entries = head.readUInt16LE(56);
  if (entryBytes < 56) return undefined;
  const table = readAt(fd, tableAt, entryBytes * entries);
  for (let at = 0; at + 56 <= table.length; at += entryBytes) {
    if (table.readUInt32LE(at) !== PT_INTERP) continue;
    const offset = Number(table.readBigUInt64LE(at + 8));
    const bytes = Number(table.readBigUInt64LE(at + 32));
    return readAt(fd, offset, Math.min(bytes, maxInterpreter)).toString("utf8").replace(/\0.*$/s, "");
  }
  return undefined;
}

function readAt(fd: number, position: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  return buffer.subarray(0, readSync(fd, buffer, 0, bytes, position));
}
