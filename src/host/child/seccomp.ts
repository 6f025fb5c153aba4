import type { SandboxRules } from "../sandbox-rules.ts";

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

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_TYPE_MASK = 0xf;
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
/** `CLONE_NEW*`: all kinds of namespace. */
const CLONE_NAMESPACES = 0x7e02_0080;
/** Where x32 calls begin on x64. */
const x32 = 0x4000_0000;

interface Architecture {
  /** `AUDIT_ARCH_*` of `linux/audit.h`. */
  readonly audit: number;
  readonly socket: number;
  readonly listen: number;
  readonly clone: number;
  readonly ioctl: number;
  readonly setpriority: number;
  readonly ioprioSet: number;
  /** Calls whose first argument is the process that they change: allowed for 0, the caller itself. */
  readonly ofProcess: readonly number[];
  /** Calls that are refused altogether. */
  readonly refused: readonly number[];
}

/** The same number on both: pidfd_getfd, io_uring_*, the mount family, process_madvise, fchmodat2, *xattrat, … */
const refusedOnBoth = [
  425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 440, 442, 448, 452, 463, 466, 467, 469,
];

const architectures: Partial<Record<NodeJS.Architecture, Architecture>> = {
  x64: {
    audit: 0xc000_003e,
    socket: 41,
    listen: 50,
    clone: 56,
    ioctl: 16,
    setpriority: 141,
    ioprioSet: 251,
    // sched_setparam, sched_setscheduler, sched_setaffinity, prlimit64, sched_setattr
    ofProcess: [142, 144, 203, 302, 314],
    refused: [
      // chmod, fchmod, chown, fchown, lchown, utime, utimes, fchownat, futimesat, fchmodat, utimensat
      90,
      91,
      92,
      93,
      94,
      132,
      235,
      260,
      261,
      268,
      280,
      // setxattr and removexattr, with their l and f forms
      188,
      189,
      190,
      197,
      198,
      199,
      // ptrace, process_vm_readv, process_vm_writev, kcmp, migrate_pages, move_pages
      101,
      310,
      311,
      312,
      256,
      279,
      // bpf, add_key, request_key, keyctl, perf_event_open, userfaultfd, fanotify_init
      321,
      248,
      249,
      250,
      298,
      323,
      300,
      // mount, umount2, pivot_root, chroot, unshare, setns, name_to_handle_at, open_by_handle_at
      165,
      166,
      155,
      161,
      272,
      308,
      303,
      304,
      // init_module, delete_module, finit_module, kexec_load, kexec_file_load, reboot, swapon, swapoff, acct, quotactl
      175,
      176,
      313,
      246,
      320,
      169,
      167,
      168,
      163,
      179,
      // sethostname, setdomainname, iopl, ioperm, syslog, settimeofday, adjtimex, clock_settime, clock_adjtime
      170,
      171,
      172,
      173,
      103,
      164,
      159,
      227,
      305,
      // shmget, shmat, shmctl, semget, semop, semctl, semtimedop, msgget, msgsnd, msgrcv, msgctl, mq_open, mq_unlink
      29,
      30,
      31,
      64,
      65,
      66,
      220,
      68,
      69,
      70,
      71,
      240,
      241,
      ...refusedOnBoth,
    ],
  },
  arm64: {
    audit: 0xc000_00b7,
    socket: 198,
    listen: 201,
    clone: 220,
    ioctl: 29,
    setpriority: 140,
    ioprioSet: 30,
    // sched_setparam, sched_setscheduler, sched_setaffinity, prlimit64, sched_setattr
    ofProcess: [118, 119, 122, 261, 274],
    refused: [
      // fchmod, fchmodat, fchownat, fchown, utimensat
      52,
      53,
      54,
      55,
      88,
      // setxattr and removexattr, with their l and f forms
      5,
      6,
      7,
      14,
      15,
      16,
      // ptrace, process_vm_readv, process_vm_writev, kcmp, migrate_pages, move_pages
      117,
      270,
      271,
      272,
      238,
      239,
      // bpf, add_key, request_key, keyctl, perf_event_open, userfaultfd, fanotify_init
      280,
      217,
      218,
      219,
      241,
      282,
      262,
      // mount, umount2, pivot_root, chroot, unshare, setns, name_to_handle_at, open_by_handle_at
      40,
      39,
      41,
      51,
      97,
      268,
      264,
      265,
      // init_module, delete_module, finit_module, kexec_load, kexec_file_load, reboot, swapon, swapoff, acct, quotactl
      105,
      106,
      273,
      104,
      294,
      142,
      224,
      225,
      89,
      60,
      // sethostname, setdomainname, syslog, settimeofday, adjtimex, clock_settime, clock_adjtime
      161,
      162,
      116,
      170,
      171,
      112,
      266,
      // shmget, shmctl, shmat, semget, semctl, semtimedop, semop, msgget, msgctl, msgrcv, msgsnd, mq_open, mq_unlink
      194,
      195,
      196,
      190,
      191,
      192,
      193,
      186,
      187,
      188,
      189,
      180,
      181,
      ...refusedOnBoth,
    ],
  },
};

/** So that the C library falls back to `clone`, whose flags a filter can see. */
const clone3 = 435;
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
  const table = architectures[arch];
  if (table === undefined) return undefined;
  const program: Instruction[] = [
    [LOAD, 0, 0, offsetOfArch],
    [JUMP_EQUAL, 1, 0, table.audit],
    refuse(EPERM),
    [LOAD, 0, 0, offsetOfNumber],
  ];
  if (arch === "x64") program.push([JUMP_AT_LEAST, 0, 1, x32], refuse(EPERM));
  for (const number of table.refused) program.push(...when(number, [refuse(EACCES)]));
  program.push(...when(clone3, [refuse(ENOSYS)]));
  program.push(
    ...when(table.clone, [
      [LOAD, 0, 0, offsetOfArgument(0)],
      [JUMP_ANY_BIT, 0, 1, CLONE_NAMESPACES],
      refuse(EPERM),
      allow,
    ]),
  );
  for (const number of table.ofProcess) program.push(...when(number, onlyZero(0)));
  // PRIO_PROCESS is 0, IOPRIO_WHO_PROCESS is 1; 0 is the caller.
  program.push(...when(table.setpriority, [...unless(0, 0), ...onlyZero(1)]));
  program.push(...when(table.ioprioSet, [...unless(0, 1), ...onlyZero(1)]));
  if (rules.listen.length === 0) program.push(...when(table.listen, [refuse(EACCES)]));
  program.push(...when(table.socket, socketRule(rules)));
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
