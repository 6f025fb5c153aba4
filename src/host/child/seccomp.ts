import type { SandboxRules } from "../sandbox-rules.ts";
import { systemCallTables } from "./system-call-tables.ts";

// Classic BPF (`linux/filter.h`) over `struct seccomp_data`: u32 nr, u32 arch, u64 instruction pointer, u64 args[6].
const LOAD = 0x20;
const JUMP_EQUAL = 0x15;
const JUMP_AT_LEAST = 0x35;
const JUMP_ANY_BIT = 0x45;
const AND = 0x54;
const RETURN = 0x06;
const ALLOW = 0x7fff_0000;
const ERRNO = 0x0005_0000;
const EPERM = 1;
const EACCES = 13;
const ENOSYS = 38;
const offsetOfNumber = 0;
const offsetOfArch = 4;
/** The lower half of an argument; both architectures are little-endian. */
const offsetOfArgument = (index: number) => 16 + 8 * index;

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_TYPE_MASK = 0xf;
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
/** Connects a TCP socket without `connect`, so Landlock's rules for ports are not asked. */
const MSG_FASTOPEN = 0x2000_0000;
/** `setsockopt(fd, SOL_TCP, TCP_ULP, …)` turns a TCP socket into one of another kind, which Landlock does not know. */
const SOL_TCP = 6;
const TCP_ULP = 31;
/** `CLONE_NEW*`: all kinds of namespace. */
const CLONE_NAMESPACES = 0x7e02_0080;
/** Where x32 calls begin on x64. */
const x32 = 0x4000_0000;

/** So that callers fall back to `clone` and `openat`, whose flags and modes a filter can see. */
const clone3 = 435;
const openat2 = 437;
/** `S_ISUID | S_ISGID`: for any user of the machine, a program with such a mode would run as this one, unconfined. */
const SET_ID = 0o6000;
/** `ioctl` requests: change of a file's flags (`FS_IOC_SETFLAGS`, `FS_IOC_FSSETXATTR`), input for a terminal (`TIOCSTI`). */
const refusedRequests = [0x4008_6602, 0x401c_5820, 0x5412];
/** `SIOC…`: the configuration of network interfaces. */
const firstSocketRequest = 0x8900;
const afterSocketRequests = 0x8a00;

/** What of the rules a filter depends on. */
export type SocketRules = Pick<SandboxRules, "connect" | "listen">;

/**
 * The program that `seccomp(2)` runs for every system call, eight bytes an instruction: refuses what Landlock leaves open.
 * Undefined for an architecture without a table.
 */
export function seccompFilter(
  rules: SocketRules,
  arch: NodeJS.Architecture = process.arch,
): Uint8Array | undefined {
  const table = systemCallTables[arch];
  if (table === undefined) return undefined;
  const program: Instruction[] = [
    [LOAD, 0, 0, offsetOfArch],
    [JUMP_EQUAL, 1, 0, table.audit],
    refuse(EPERM),
    [LOAD, 0, 0, offsetOfNumber],
  ];
  if (arch === "x64") program.push([JUMP_AT_LEAST, 0, 1, x32], refuse(EPERM));
  for (const number of table.refused) program.push(...when(number, [refuse(EACCES)]));
  for (const number of [clone3, openat2]) program.push(...when(number, [refuse(ENOSYS)]));
  program.push(...when(table.clone, noneOf(0, CLONE_NAMESPACES, EPERM)));
  for (const number of table.ofProcess) program.push(...when(number, onlyZero(0)));
  // PRIO_PROCESS is 0, IOPRIO_WHO_PROCESS is 1; 0 is the caller.
  program.push(...when(table.setpriority, [...unless(0, 0), ...onlyZero(1)]));
  program.push(...when(table.ioprioSet, [...unless(0, 1), ...onlyZero(1)]));
  if (rules.listen.length === 0) program.push(...when(table.listen, [refuse(EACCES)]));
  program.push(...when(table.socket, socketRule(rules)));
  program.push(...when(table.socketpair, socketpairRule()));
  for (const [number, flags] of table.sending)
    program.push(...when(number, noneOf(flags, MSG_FASTOPEN, EACCES)));
  // Callers that create nothing pass a mode of 0.
  for (const [number, mode] of table.creating) program.push(...when(number, noneOf(mode, SET_ID, EACCES)));
  program.push(
    ...when(table.setsockopt, [
      [LOAD, 0, 0, offsetOfArgument(1)],
      [JUMP_EQUAL, 1, 0, SOL_TCP],
      allow,
      [LOAD, 0, 0, offsetOfArgument(2)],
      [JUMP_EQUAL, 0, 1, TCP_ULP],
      refuse(EACCES),
      allow,
    ]),
  );
  program.push(...when(table.ioctl, requestRule()));
  program.push(allow);
  return encode(program);
}

type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, operand: number];

const allow: Instruction = [RETURN, 0, 0, ALLOW];
const refuse = (errno: number): Instruction => [RETURN, 0, 0, ERRNO | errno];

/** Runs `then`, which must return, for one call; the call's number is loaded before and after. */
function when(number: number, then: readonly Instruction[]): Instruction[] {
  return [[JUMP_EQUAL, 0, then.length, number], ...then];
}

function onlyZero(argument: number): Instruction[] {
  return [...unless(argument, 0), allow];
}

/** Refuses the call if the argument has any of these bits. */
function noneOf(argument: number, bits: number, errno: number): Instruction[] {
  return [[LOAD, 0, 0, offsetOfArgument(argument)], [JUMP_ANY_BIT, 0, 1, bits], refuse(errno), allow];
}

/** Refuses the call unless the argument has this value. */
function unless(argument: number, value: number): Instruction[] {
  return [[LOAD, 0, 0, offsetOfArgument(argument)], [JUMP_EQUAL, 1, 0, value], refuse(EACCES)];
}

/** `socket(domain, type, protocol)`: IP only with `connect` or `listen`; TCP, and with `connect` UDP for names. */
function socketRule({ connect, listen }: SocketRules): Instruction[] {
  if (connect.length === 0 && listen.length === 0) return [refuse(EACCES)];
  const protocol = (known: number): Instruction[] => [
    [LOAD, 0, 0, offsetOfArgument(2)],
    [JUMP_EQUAL, 1, 0, 0],
    [JUMP_EQUAL, 0, 1, known],
    allow,
    refuse(EACCES),
  ];
  const tcp = protocol(IPPROTO_TCP);
  const udp = connect.length === 0 ? [] : protocol(IPPROTO_UDP);
  return [
    [LOAD, 0, 0, offsetOfArgument(0)],
    [JUMP_EQUAL, 2, 0, AF_INET],
    [JUMP_EQUAL, 1, 0, AF_INET6],
    refuse(EACCES),
    [LOAD, 0, 0, offsetOfArgument(1)],
    [AND, 0, 0, SOCK_TYPE_MASK],
    [JUMP_EQUAL, 0, tcp.length, SOCK_STREAM],
    ...tcp,
    ...(udp.length === 0 ? [] : ([[JUMP_EQUAL, 0, udp.length, SOCK_DGRAM], ...udp] as Instruction[])),
    refuse(EACCES),
  ];
}

/** Streams only: a datagram socket of a pair can send to any path, or connect to it. */
function socketpairRule(): Instruction[] {
  return [
    ...unless(0, AF_UNIX),
    [LOAD, 0, 0, offsetOfArgument(1)],
    [AND, 0, 0, SOCK_TYPE_MASK],
    [JUMP_EQUAL, 1, 0, SOCK_STREAM],
    refuse(EACCES),
    allow,
  ];
}

function requestRule(): Instruction[] {
  return [
    [LOAD, 0, 0, offsetOfArgument(1)],
    ...refusedRequests.flatMap((request) => when(request, [refuse(EACCES)])),
    [JUMP_AT_LEAST, 0, 2, firstSocketRequest],
    [JUMP_AT_LEAST, 1, 0, afterSocketRequests],
    refuse(EACCES),
    allow,
  ];
}

/** `struct sock_filter`: u16 code, u8 and u8 jumps, u32 operand. */
function encode(program: readonly Instruction[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(program.length * 8));
  for (const [index, [code, ifTrue, ifFalse, operand]] of program.entries()) {
    view.setUint16(index * 8, code, true);
    view.setUint8(index * 8 + 2, ifTrue);
    view.setUint8(index * 8 + 3, ifFalse);
    view.setUint32(index * 8 + 4, operand >>> 0, true);
  }
  return new Uint8Array(view.buffer);
}
