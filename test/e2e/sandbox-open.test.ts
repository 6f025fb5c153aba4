import { describe, expect, test } from "bun:test";
import { createSocket } from "node:dgram";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { interpreterOf } from "../../src/host/parent/interpreter-of.ts";
import {
  type AttackedServer,
  attackedServer,
  hasSandbox,
  refusal,
  sandboxed,
  type Tools,
  worked,
} from "../helpers/sandboxed.ts";

// What the sandbox leaves open, as SECURITY.md says: each of these works. When one no longer does, SECURITY.md promises
// too little.

const place = { secret: "", programs: "" };
const { site, server, attempt }: AttackedServer = hasSandbox
  ? await attackedServer((site) => {
      place.secret = join(site.path, "secret");
      place.programs = join(site.path, "programs");
      writeFileSync(place.secret, "secret");
      mkdirSync(place.programs);
      copyFileSync(Bun.which("uname") as string, join(place.programs, "uname"));
      return {
        none: undefined,
        read: { read: [place.programs, "/lib", "/lib64", "/usr/lib"] },
        connect: { connect: [1] },
        listen: { listen: [1] },
      };
    })
  : ({} as AttackedServer);

describe.skipIf(!hasSandbox)(sandboxed("what stays open"), () => {
  test("what stat tells of a file anywhere, where a symbolic link leads, and whether a process exists", async () => {
    const { size } = worked(
      await attempt("none", ({ fs }, path) => ({ size: fs.statSync(path).size }), place.secret),
    );
    expect(size).toBe(6);
    expect(worked(await attempt("none", ({ fs }, path) => fs.existsSync(path), `${place.secret}-not`))).toBe(
      false,
    );
    expect(worked(await attempt("none", ({ fs }) => fs.readlinkSync("/proc/self")))).toMatch(/^\d+$/);
    expect(
      worked(await attempt("none", ({ fs }, pid) => fs.existsSync(`/proc/${pid}`), server.process.pid)),
    ).toBe(true);
    expect(worked(await attempt("none", ({ fs }) => fs.statfsSync("/").blocks))).toBeGreaterThan(0);
  });

  test("extended attributes can be read, and inotify tells of changes in folders that cannot be listed", async () => {
    const attribute = ({ sys, nr }: Tools, path: string) =>
      sys(nr.getxattr, path, "user.nothing", new Uint8Array(8), 8);
    expect(worked(await attempt("none", attribute, place.secret))).not.toBe(-13);
    const watch = ({ sys, nr }: Tools, path: string) =>
      sys(nr.inotify_add_watch, sys(nr.inotify_init1, 0x80000), path, 0x100);
    expect(worked(await attempt("none", watch, site.certs))).toBeGreaterThan(0);
  });

  test("with 'listen', a socket listens without bind on a port that the kernel chooses", async () => {
    const attack = ({ sys, nr }: Tools) => sys(nr.listen, sys(nr.socket, 2, 1, 0), 1);
    expect(worked(await attempt("listen", attack))).toBe(0);
    expect(worked(await attempt("none", attack))).toBeLessThan(0);
  });

  test("with 'connect', UDP reaches every port", async () => {
    const { promise, resolve } = Promise.withResolvers<string>();
    const receiver = createSocket("udp4").on("message", (data) => resolve(String(data)));
    await new Promise<void>((bound) => receiver.bind(0, "127.0.0.1", bound));
    const send = ({ dgram }: Tools, port: number) =>
      new Promise((done, reject) => {
        const socket = dgram.createSocket("udp4").on("error", reject);
        socket.send("datagram", port, "127.0.0.1", (error) => {
          socket.close();
          if (error) reject(error);
          else done("sent");
        });
      });
    refusal(await attempt("none", send, receiver.address().port));
    worked(await attempt("connect", send, receiver.address().port));
    expect(await promise).toBe("datagram");
    receiver.close();
  });

  test("a program that can be read, or that is in memory, runs within the sandbox", async () => {
    const fromMemory = ({ fs, sys, nr, cp }: Tools, path: string) => {
      const fd = sys(nr.memfd_create, "program", 0);
      fs.writeFileSync(fd, fs.readFileSync(path));
      const { status, stdout } = cp.spawnSync(`/proc/${process.pid}/fd/${fd}`, [], { encoding: "utf8" });
      return `${status} ${stdout.trim()}`;
    };
    const byLoader = ({ cp }: Tools, [loader, path]: (string | undefined)[]) => {
      const { status, stdout } = cp.spawnSync(String(loader), [String(path)], { encoding: "utf8" });
      return `${status} ${stdout.trim()}`;
    };
    const path = join(place.programs, "uname");
    const loader = interpreterOf(path);
    expect(refusal(await attempt("read", ({ cp }, path) => cp.execFileSync(path).length, path))).toBe(
      "EACCES",
    );
    expect(worked(await attempt("read", fromMemory, path))).toMatch(/^0 \w+$/);
    expect(worked(await attempt("read", byLoader, [loader, path]))).toMatch(/^0 \w+$/);
  });
});
