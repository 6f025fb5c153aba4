import { expect, test } from "bun:test";
import { type SocketRules, seccompFilter } from "../../../src/host/child/seccomp.ts";
import { type SystemCallTable, systemCallTables } from "../../../src/host/child/system-call-tables.ts";

const none: SocketRules = { connect: [], listen: [] };
const allow = 0x7fff_0000;
const [EPERM, EACCES, ENOSYS] = [0x0005_0001, 0x0005_000d, 0x0005_0026];
const [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK] = [1, 2, 10, 16];
const [SOCK_STREAM, SOCK_DGRAM, SOCK_CLOEXEC] = [1, 2, 0x80000];
const [MPTCP, TCP, UDP] = [262, 6, 17];

/** Runs the filter as the kernel does; see `linux/filter.h`. */
function verdict(program: Uint8Array, nr: number, args: readonly number[], audit: number): number {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, nr, true);
  data.setUint32(4, audit, true);
  for (const [index, value] of args.entries()) data.setBigUint64(16 + 8 * index, BigInt(value), true);
  const view = new DataView(program.buffer);
  let value = 0;
  for (let at = 0; at < program.length; at += 8) {
    const [code, ifTrue, ifFalse] = [view.getUint16(at, true), view.getUint8(at + 2), view.getUint8(at + 3)];
    const operand = view.getUint32(at + 4, true);
    const jump = (condition: boolean) => {
      at += 8 * (condition ? ifTrue : ifFalse);
    };
    if (code === 0x20) value = data.getUint32(operand, true);
    else if (code === 0x15) jump(value === operand);
    else if (code === 0x35) jump(value >= operand);
    else if (code === 0x45) jump((value & operand) !== 0);
    else if (code === 0x54) value = (value & operand) >>> 0;
    else if (code === 0x06) return operand;
    else throw new Error(`unknown instruction ${code}`);
  }
  throw new Error("the program has no end");
}

for (const arch of ["x64", "arm64"] as const) {
  const table = systemCallTables[arch] as SystemCallTable;
  const of = (nr: number, args: readonly number[] = [], rules = none) =>
    verdict(seccompFilter(rules, arch) ?? new Uint8Array(), nr, args, table.audit);

  test(`${arch}: the table has no number twice, and none of a call with a rule of its own`, () => {
    const { socket, socketpair, listen, setsockopt, clone, ioctl, setpriority, ioprioSet } = table;
    const { ofProcess, refused, sending, creating } = table;
    const byArgument = [...sending, ...creating].map(([nr]) => nr);
    const single = [socket, socketpair, listen, setsockopt, clone, ioctl, setpriority, ioprioSet];
    const all = [...single, ...ofProcess, ...byArgument, ...refused];
    expect(all.filter((nr) => !Number.isInteger(nr))).toEqual([]);
    expect(new Set(all).size).toBe(all.length);
  });

  test(`${arch}: what is refused is refused, and every other call is allowed`, () => {
    for (const nr of table.refused) expect([nr, of(nr)]).toEqual([nr, EACCES]);
    const { socket, socketpair, listen, ofProcess, setpriority, ioprioSet } = table;
    const special = [socket, socketpair, listen, ...ofProcess, setpriority, ioprioSet, 435, 437];
    for (let nr = 0; nr < 600; nr++)
      if (![...table.refused, ...special].includes(nr)) expect([nr, of(nr)]).toEqual([nr, allow]);
    expect([of(435), of(437)]).toEqual([ENOSYS, ENOSYS]);
  });

  test(`${arch}: calls of another architecture are refused`, () => {
    const other = arch === "x64" ? 0x4000_0003 : 0x4000_0028;
    expect(verdict(seccompFilter(none, arch) ?? new Uint8Array(), 0, [], other)).toBe(EPERM);
    if (arch === "x64") expect(of(0x4000_0000 + 41)).toBe(EPERM);
  });

  test(`${arch}: a process changes itself, and no other`, () => {
    for (const nr of table.ofProcess) expect([of(nr, [0]), of(nr, [1])]).toEqual([allow, EACCES]);
    expect([
      of(table.setpriority, [0, 0]),
      of(table.setpriority, [0, 7]),
      of(table.setpriority, [2, 0]),
    ]).toEqual([allow, EACCES, EACCES]);
    expect([of(table.ioprioSet, [1, 0]), of(table.ioprioSet, [1, 7])]).toEqual([allow, EACCES]);
    expect(of(table.clone, [0x11])).toBe(allow);
    expect(of(table.clone, [0x1000_0011])).toBe(EPERM);
  });

  test(`${arch}: sockets are those that connect and listen take`, () => {
    const rules: [SocketRules, tcp: number, udp: number, listens: number][] = [
      [none, EACCES, EACCES, EACCES],
      [{ connect: [443], listen: [] }, allow, allow, EACCES],
      [{ connect: [], listen: [80] }, allow, EACCES, allow],
      [{ connect: [443], listen: [80] }, allow, allow, allow],
    ];
    for (const [rule, tcp, udp, listens] of rules) {
      const socket = (...args: number[]) => of(table.socket, args, rule);
      for (const domain of [AF_INET, AF_INET6])
        for (const protocol of [0, TCP])
          expect(socket(domain, SOCK_STREAM | SOCK_CLOEXEC, protocol)).toBe(tcp);
      for (const protocol of [0, UDP]) expect(socket(AF_INET, SOCK_DGRAM, protocol)).toBe(udp);
      expect(socket(AF_INET, SOCK_STREAM, MPTCP)).toBe(EACCES);
      expect(socket(AF_INET, SOCK_DGRAM, TCP)).toBe(EACCES);
      for (const domain of [AF_UNIX, AF_NETLINK]) expect(socket(domain, SOCK_STREAM, 0)).toBe(EACCES);
      expect(socket(AF_INET, 3, 1)).toBe(EACCES);
      expect(of(table.listen, [4, 128], rule)).toBe(listens);
    }
  });

  test(`${arch}: pairs of sockets are streams, nothing connects as it sends, and a socket stays of its kind`, () => {
    const pair = (...args: number[]) => of(table.socketpair, args);
    expect(pair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)).toBe(allow);
    for (const type of [SOCK_DGRAM, SOCK_DGRAM | SOCK_CLOEXEC, 5])
      expect(pair(AF_UNIX, type, 0)).toBe(EACCES);
    expect(pair(30, SOCK_STREAM, 0)).toBe(EACCES);
    const [fastOpen, noSignal] = [0x2000_0000, 0x4000];
    for (const [nr, at] of table.sending) {
      const flags = (value: number) => of(nr, [...Array<number>(at).fill(7), value]);
      expect([nr, flags(noSignal), flags(fastOpen | noSignal)]).toEqual([nr, allow, EACCES]);
    }
    const option = (level: number, name: number) => of(table.setsockopt, [3, level, name]);
    expect([option(TCP, 31), option(TCP, 1), option(1, 31)]).toEqual([EACCES, allow, allow]);
  });

  test(`${arch}: files are not created with a set-user-ID or set-group-ID bit`, () => {
    for (const [nr, at] of table.creating) {
      const mode = (value: number) => of(nr, [...Array<number>(at).fill(0o7777), value]);
      expect([mode(0o1777), mode(0), mode(0o4755), mode(0o2755)]).toEqual([allow, allow, EACCES, EACCES]);
    }
  });

  test(`${arch}: of the requests of ioctl, those that change files, terminals and networks are refused`, () => {
    for (const request of [0x4008_6602, 0x401c_5820, 0x5412, 0x8900, 0x8914, 0x89ff])
      expect(of(table.ioctl, [3, request])).toBe(EACCES);
    for (const request of [0x5401, 0x5413, 0x541b, 0x8a00]) expect(of(table.ioctl, [3, request])).toBe(allow);
  });
}

test("an architecture without a table has no filter", () => {
  expect(seccompFilter(none, "ppc64")).toBeUndefined();
});
