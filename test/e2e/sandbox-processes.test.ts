import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Running } from "../helpers/processes.ts";
import { isLive } from "../helpers/procfs.ts";
import {
  type AttackedServer,
  attackedModule,
  attackedServer,
  hasSandbox,
  refusal,
  sandboxed,
  type Tools,
  worked,
} from "../helpers/sandboxed.ts";
import { eventually } from "../helpers/within.ts";

// What a module can do to other processes and to the system, in the built executables. The server may run as root here,
// so nothing is refused for lack of privileges alone.

const [EPERM, EACCES, ENOSYS] = [-1, -13, -38];
const { site, server, attempt }: AttackedServer = hasSandbox
  ? await attackedServer(() => ({ none: undefined, again: undefined, all: "all", connect: { connect: [1] } }))
  : ({} as AttackedServer);

type ProcessAttack = (tools: Tools, pid: number) => unknown;
const pidOf = async (mod: string) => worked(await attempt(mod, () => process.pid));

describe.skipIf(!hasSandbox)(sandboxed("other processes"), () => {
  test("neither the server nor another module, of other permissions or of the same, can be signalled", async () => {
    const attacks: Record<string, ProcessAttack> = {
      "process.kill": (_, pid) => process.kill(pid, "SIGCONT"),
      "process.kill of a group": (_, pid) => process.kill(-pid, "SIGCONT"),
      "existence by signal 0": (_, pid) => process.kill(pid, 0),
    };
    const targets = [server.process.pid, await pidOf("all"), await pidOf("again")];
    for (const [name, attack] of Object.entries(attacks)) {
      for (const pid of targets) {
        if (name.includes("group") && pid === server.process.pid) continue; // It leads none.
        expect([name, refusal(await attempt("none", attack, pid))]).toEqual([name, "EPERM"]);
        worked(await attempt("all", attack, pid));
      }
    }
    const raw = ({ sys, nr }: Tools, pid: number) => {
      const fd = sys(nr.pidfd_open, pid, 0);
      return [
        sys(nr.kill, pid, 9),
        sys(nr.tgkill, pid, pid, 9),
        sys(nr.pidfd_send_signal, fd, 9, 0, 0),
        sys(nr.pidfd_getfd, fd, 0, 0),
      ];
    };
    for (const pid of targets) {
      expect(worked(await attempt("none", raw, pid))).toEqual([EPERM, EPERM, EPERM, EACCES]);
      expect(isLive(pid)).toBe(true);
    }
    worked(await attempt("none", () => process.kill(process.pid, 0)));
  });

  test("a signal to every process does not reach others", async () => {
    // By default SIGURG is ignored, so nothing is harmed if this attack succeeds.
    const script = "trap 'echo signalled' URG; echo ready; while :; do sleep 0.02; done";
    await using witness = new Running(["sh", "-c", script]);
    await witness.line("ready");
    const everybody = ({ sys, nr, os }: Tools) => sys(nr.kill, -1, os.constants.signals.SIGURG);
    await attempt("none", everybody);
    const byEvent = ({ sys, nr, os }: Tools, pid: number) => {
      const pair = new Int32Array(2);
      sys(nr.socketpair, 1, 1, 0, new Uint8Array(pair.buffer));
      const [fd, peer] = pair as unknown as [number, number];
      const [setOwner, setSignal, setFlags, asynchronous] = [8, 10, 4, 0o20000];
      sys(nr.fcntl, fd, setSignal, os.constants.signals.SIGURG);
      const owner = sys(nr.fcntl, fd, setOwner, pid);
      sys(nr.fcntl, fd, setFlags, asynchronous);
      return [owner, sys(nr.sendto, peer, "x", 1, 0, 0, 0)];
    };
    expect(worked(await attempt("none", byEvent, witness.process.pid))).toEqual([0, 1]);
    const one = ({ sys, nr, os }: Tools, pid: number) => sys(nr.kill, pid, os.constants.signals.SIGURG);
    expect(worked(await attempt("none", one, witness.process.pid))).toBe(EPERM);
    await Bun.sleep(100); // A signal that must not come cannot be awaited.
    expect(witness.stdout).toEqual(["ready"]);
    worked(await attempt("all", byEvent, witness.process.pid));
    await witness.line("signalled");
    expect(worked(await attempt("all", one, witness.process.pid))).toBe(0);
  });

  test("their limits, priority and processors stay as they are", async () => {
    const attack = ({ sys, nr }: Tools, pid: number) => ({
      prlimit: sys(nr.prlimit64, pid, 7, new Uint8Array(16).fill(1), 0),
      "prlimit, to read": sys(nr.prlimit64, pid, 7, 0, new Uint8Array(16)),
      sched_setaffinity: sys(nr.sched_setaffinity, pid, 8, new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0])),
      sched_setscheduler: sys(nr.sched_setscheduler, pid, 3, new Uint8Array(8)),
      setpriority: sys(nr.setpriority, 0, pid, 19),
      "setpriority of a group": sys(nr.setpriority, 1, pid, 19),
      ioprio_set: sys(nr.ioprio_set, 1, pid, 0),
    });
    const [pid, limits] = [server.process.pid, readFileSync(`/proc/${server.process.pid}/limits`, "utf8")];
    for (const result of Object.values(worked(await attempt("none", attack, pid))))
      expect(result).toBe(EACCES);
    expect(readFileSync(`/proc/${pid}/limits`, "utf8")).toBe(limits);
    const set = ({ os }: Tools, pid: number) => os.setPriority(pid, 5);
    expect(refusal(await attempt("none", set, pid))).toMatch(/EACCES|ERR_SYSTEM_ERROR/);
    expect(
      worked(
        await attempt("all", ({ sys, nr }, pid) => sys(nr.prlimit64, pid, 7, 0, new Uint8Array(16)), pid),
      ),
    ).toBe(0);
    expect(worked(await attempt("none", ({ os }) => os.setPriority(0, 1)))).toBe(null as never);
  });

  test("their memory cannot be read, and they cannot be traced", async () => {
    const attack = ({ sys, nr, ffi }: Tools, pid: number) => {
      const mine = new Uint8Array(8);
      const vector = new Uint8Array(new BigUint64Array([BigInt(ffi.ptr(mine)), 8n]).buffer);
      return [
        sys(nr.ptrace, 16, pid, 0, 0),
        sys(nr.ptrace, 0x4206, pid, 0, 0),
        sys(nr.process_vm_readv, pid, vector, 1, vector, 1, 0),
        sys(nr.process_vm_writev, pid, vector, 1, vector, 1, 0),
        sys(nr.kcmp, process.pid, pid, 0, 0, 0),
      ];
    };
    for (const pid of [server.process.pid, await pidOf("again")])
      expect(worked(await attempt("none", attack, pid))).toEqual([EACCES, EACCES, EACCES, EACCES, EACCES]);
    const read = ({ fs }: Tools, path: string) => fs.closeSync(fs.openSync(path, "r"));
    for (const name of [
      "mem",
      "environ",
      "cmdline",
      "maps",
      "stack",
      "auxv",
      "task",
      "root/etc",
      "cwd/certs/server.key",
    ]) {
      const path = `/proc/${server.process.pid}/${name}`;
      expect([name, refusal(await attempt("none", read, path))]).toEqual([name, "EACCES"]);
      worked(await attempt("all", read, path));
    }
  });
});

describe.skipIf(!hasSandbox)(sandboxed("the system"), () => {
  test("io_uring, bpf, keys, mounts, namespaces and the like are refused", async () => {
    const attack = ({ sys, nr }: Tools, folder: string) => ({
      io_uring_setup: sys(nr.io_uring_setup, 1, new Uint8Array(120)),
      bpf: sys(nr.bpf, 0, new Uint8Array(128), 128),
      userfaultfd: sys(nr.userfaultfd, 1),
      perf_event_open: sys(nr.perf_event_open, new Uint8Array(128), 0, -1, -1, 0),
      keyctl: sys(nr.keyctl, 0, -3, 0),
      mount: sys(nr.mount, "none", folder, "no-such-kind", 0, 0),
      chroot: sys(nr.chroot, folder),
      unshare: sys(nr.unshare, 0x10000000),
      setns: sys(nr.setns, -1, 0),
      open_by_handle_at: sys(nr.open_by_handle_at, -100, new Uint8Array(136), 0),
      sethostname: sys(nr.sethostname, "mine", -1),
      reboot: sys(nr.reboot, 0, 0, 0, 0),
    });
    const folder = worked(await attempt("none", ({ os }) => os.tmpdir()));
    for (const [name, result] of Object.entries(worked(await attempt("none", attack, folder))))
      expect([name, result]).toEqual([name, EACCES]);
    expect(worked(await attempt("all", ({ sys, nr }) => sys(nr.unshare, 0)))).toBe(0);
    expect(worked(await attempt("all", ({ sys, nr }) => sys(nr.bpf, 99, new Uint8Array(8), 8)))).not.toBe(
      EACCES,
    );
    // So that flags that make namespaces can be seen, programs are started by 'clone'.
    expect(worked(await attempt("none", ({ sys }) => sys(435, new Uint8Array(88), 88)))).toBe(ENOSYS);
    expect(worked(await attempt("none", ({ sys, nr }) => sys(nr.clone, 0x10000000 | 17, 0, 0, 0, 0)))).toBe(
      EPERM,
    );
  });

  test("root's powers besides files and ports are gone, also for what the module starts", async () => {
    const capabilities = ({ fs }: Tools) =>
      /CapPrm:\s+([0-9a-f]+)\nCapEff:\s+([0-9a-f]+)/
        .exec(fs.readFileSync("/proc/self/status", "utf8"))
        ?.slice(1);
    const files = 0b100_0000_1110n;
    for (const set of worked(await attempt("none", capabilities)) ?? [])
      expect(BigInt(`0x${set}`) & ~files).toBe(0n);
    const own = /CapEff:\s+([0-9a-f]+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
    expect(worked(await attempt("all", capabilities))?.[1]).toBe(own as string);
    const freeze = ({ fs, sys, nr, os }: Tools) =>
      sys(nr.ioctl, fs.openSync(os.tmpdir(), "r"), 0xc0045878 | 0, 0); // FITHAW
    expect(worked(await attempt("none", freeze))).toBe(EPERM);
  });

  test("requests to devices, file flags and network interfaces are refused", async () => {
    const attack = ({ fs, sys, nr, os }: Tools) => {
      const folder = fs.openSync(os.tmpdir(), "r");
      const flags = new Uint8Array(8);
      const [setFlags, setAttributes, typeOnTerminal] = [0x40086602, 0x401c5820, 0x5412];
      const interfaces = 0x8912;
      return [setFlags, setAttributes, typeOnTerminal, interfaces].map((request) =>
        sys(nr.ioctl, folder, request, flags),
      );
    };
    expect(worked(await attempt("none", attack))).toEqual([EACCES, EACCES, EACCES, EACCES]);
    expect(worked(await attempt("all", attack))).not.toContain(EACCES);
    const device = ({ fs, sys, nr }: Tools) =>
      sys(nr.ioctl, fs.openSync("/dev/null", "w"), 0x5401, new Uint8Array(64));
    expect([worked(await attempt("none", device)), worked(await attempt("all", device))]).toEqual([
      EACCES,
      -25,
    ]);
  });

  test.skipIf(process.arch !== "x64")(
    "32-bit calls and those of x32 are refused, by whatever number",
    async () => {
      const x32 = ({ sys }: Tools) => [
        sys(0x40000000 + 39),
        sys(0x40000000 + 41, 2, 1, 0),
        sys(0x40000000 + 90, "/", 0o777),
      ];
      expect(worked(await attempt("none", x32))).toEqual([EPERM, EPERM, EPERM]);
      // mov eax, 20 (getpid); int 0x80; ret
      const int80 = ({ sys, nr, ffi }: Tools) => {
        const page = sys(nr.mmap, 0, 4096, 7, 0x22, -1, 0);
        const code = new Uint8Array(ffi.toArrayBuffer(page as import("bun:ffi").Pointer, 0, 4096));
        code.set([0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3]);
        const call = ffi.CFunction({ ptr: page as import("bun:ffi").Pointer, args: [], returns: "i32" });
        return [call(), process.pid];
      };
      // Kernels built without 32-bit calls end the process instead.
      const allowed = await attempt("all", int80).catch(() => undefined);
      if (allowed !== undefined) expect(worked(allowed)[0]).toBe(worked(allowed)[1]);
      const refused = await attempt("none", int80).catch(() => undefined);
      if (refused !== undefined) expect(worked(refused)[0]).toBe(EPERM);
      expect(refused === undefined).toBe(allowed === undefined);
    },
  );

  test("modules under 'all' have no filter and no rules, every other one has both", async () => {
    const state = ({ fs }: Tools) =>
      /NoNewPrivs:\s+(\d)\nSeccomp:\s+(\d)/
        .exec(fs.readFileSync("/proc/self/status", "utf8"))
        ?.slice(1)
        .join();
    const own = /NoNewPrivs:\s+(\d)\nSeccomp:\s+(\d)/
      .exec(readFileSync("/proc/self/status", "utf8"))
      ?.slice(1)
      .join();
    expect(worked(await attempt("none", state))).toBe("1,2");
    expect(worked(await attempt("connect", state))).toBe("1,2");
    expect(worked(await attempt("all", state))).toBe(own);
  });

  test("an edit has the permissions that it declares, whichever process was kept ready for it", async () => {
    const read = ({ fs }: Tools) =>
      fs.readFileSync("/proc/version", "utf8").length > 0 && fs.readdirSync("/").length > 0;
    const outcomes = [
      ["all", true],
      [undefined, false],
      [undefined, false],
      [{ read: ["/"] }, true],
      [{ read: ["/"] }, true],
      ["all", true],
      ["all", true],
      [undefined, false],
    ] as const;
    for (const [index, [permissions, mayRead]] of outcomes.entries()) {
      await site.write("edited.ts", `${attackedModule(permissions)}\nprocess.title = "edit ${index}";`);
      await eventually("the edit to be in force", async () => {
        const title = await attempt("edited", () => process.title).catch(() => undefined);
        return title !== undefined && worked(title) === `edit ${index}`;
      });
      const outcome = await attempt("edited", read);
      expect([index, "value" in outcome]).toEqual([index, mayRead]);
    }
  });
});
