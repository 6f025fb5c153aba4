/** The numbers of the system calls that a module's filter treats specially, on one architecture. */
export interface SystemCallTable {
  /** `AUDIT_ARCH_*` of `linux/audit.h`. */
  readonly audit: number;
  readonly socket: number;
  readonly socketpair: number;
  readonly listen: number;
  readonly setsockopt: number;
  /** Calls that send, each with the index of its flags. */
  readonly sending: readonly (readonly [number: number, flags: number])[];
  /** Calls that may create a file, each with the index of its mode. */
  readonly creating: readonly (readonly [number: number, mode: number])[];
  readonly clone: number;
  readonly ioctl: number;
  readonly setpriority: number;
  readonly ioprioSet: number;
  /** Calls whose first argument is the process that they change: allowed for 0, the caller itself. */
  readonly ofProcess: readonly number[];
  /** Calls that are refused altogether. */
  readonly refused: readonly number[];
}

const numbers = (...lists: readonly string[]): number[] => lists.join(" ").split(" ").map(Number);

/**
 * pidfd_getfd, io_uring_*, open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, process_madvise, mount_setattr,
 * process_mrelease, fchmodat2, setxattrat, removexattrat, open_tree_attr, file_setattr: the same on all architectures.
 */
const refusedOnAll = "425 426 427 428 429 430 431 432 433 438 440 442 448 452 463 466 467 469";

export const systemCallTables: Partial<Record<NodeJS.Architecture, SystemCallTable>> = {
  x64: {
    audit: 0xc000_003e,
    socket: 41,
    socketpair: 53,
    listen: 50,
    setsockopt: 54,
    // sendto, sendmsg, sendmmsg
    sending: [
      [44, 3],
      [46, 2],
      [307, 3],
    ],
    // open, creat, mknod, openat, mknodat
    creating: [
      [2, 2],
      [85, 1],
      [133, 1],
      [257, 3],
      [259, 2],
    ],
    clone: 56,
    ioctl: 16,
    setpriority: 141,
    ioprioSet: 251,
    // sched_setparam, sched_setscheduler, sched_setaffinity, prlimit64, sched_setattr
    ofProcess: numbers("142 144 203 302 314"),
    refused: numbers(
      // chmod, fchmod, chown, fchown, lchown, utime, utimes, fchownat, futimesat, fchmodat, utimensat
      "90 91 92 93 94 132 235 260 261 268 280",
      // setxattr and removexattr, with their l and f forms
      "188 189 190 197 198 199",
      // ptrace, process_vm_readv, process_vm_writev, kcmp, migrate_pages, move_pages
      "101 310 311 312 256 279",
      // bpf, add_key, request_key, keyctl, perf_event_open, userfaultfd, fanotify_init
      "321 248 249 250 298 323 300",
      // mount, umount2, pivot_root, chroot, unshare, setns, name_to_handle_at, open_by_handle_at
      "165 166 155 161 272 308 303 304",
      // init_module, delete_module, finit_module, kexec_load, kexec_file_load, reboot, swapon, swapoff, acct, quotactl
      "175 176 313 246 320 169 167 168 163 179",
      // sethostname, setdomainname, iopl, ioperm, syslog, settimeofday, adjtimex, clock_settime, clock_adjtime
      "170 171 172 173 103 164 159 227 305",
      // shmget, shmat, shmctl, semget, semop, semctl, semtimedop, msgget, msgsnd, msgrcv, msgctl, mq_open, mq_unlink
      "29 30 31 64 65 66 220 68 69 70 71 240 241",
      refusedOnAll,
    ),
  },
  arm64: {
    audit: 0xc000_00b7,
    socket: 198,
    socketpair: 199,
    listen: 201,
    setsockopt: 208,
    // sendto, sendmsg, sendmmsg
    sending: [
      [206, 3],
      [211, 2],
      [269, 3],
    ],
    // openat, mknodat
    creating: [
      [56, 3],
      [33, 2],
    ],
    clone: 220,
    ioctl: 29,
    setpriority: 140,
    ioprioSet: 30,
    // As above.
    ofProcess: numbers("118 119 122 261 274"),
    refused: numbers(
      // fchmod, fchmodat, fchownat, fchown, utimensat
      "52 53 54 55 88",
      // setxattr and removexattr, with their l and f forms
      "5 6 7 14 15 16",
      // ptrace, process_vm_readv, process_vm_writev, kcmp, migrate_pages, move_pages
      "117 270 271 272 238 239",
      // bpf, add_key, request_key, keyctl, perf_event_open, userfaultfd, fanotify_init
      "280 217 218 219 241 282 262",
      // mount, umount2, pivot_root, chroot, unshare, setns, name_to_handle_at, open_by_handle_at
      "40 39 41 51 97 268 264 265",
      // init_module, delete_module, finit_module, kexec_load, kexec_file_load, reboot, swapon, swapoff, acct, quotactl
      "105 106 273 104 294 142 224 225 89 60",
      // sethostname, setdomainname, syslog, settimeofday, adjtimex, clock_settime, clock_adjtime
      "161 162 116 170 171 112 266",
      // shmget, shmctl, shmat, semget, semctl, semtimedop, semop, msgget, msgctl, msgrcv, msgsnd, mq_open, mq_unlink
      "194 195 196 190 191 192 193 186 187 188 189 180 181",
      refusedOnAll,
    ),
  },
};
