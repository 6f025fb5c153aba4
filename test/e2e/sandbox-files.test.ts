import { describe, expect, test } from "bun:test";
import { existsSync, linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type AttackedServer,
  attackedServer,
  hasSandbox,
  refusal,
  sandboxed,
  type Tools,
  worked,
} from "../helpers/sandboxed.ts";
import { eventually } from "../helpers/within.ts";

// What a module can do with files, in the built executables. Each attack is tried by a module that may ('all', or the
// permission in question), and by one that may not.

const place = { inside: "", written: "", outside: "" };
const { site, server, client, attempt }: AttackedServer = hasSandbox
  ? await attackedServer((site) => {
      place.inside = join(site.path, "inside");
      place.written = join(site.path, "written");
      place.outside = join(site.path, "outside");
      for (const folder of Object.values(place)) {
        mkdirSync(folder);
        writeFileSync(join(folder, "file"), "text");
      }
      symlinkSync(join(place.outside, "file"), join(place.inside, "symbolic"));
      symlinkSync(place.outside, join(place.written, "symbolic"));
      return {
        none: undefined,
        all: "all",
        read: { read: [place.inside] },
        write: { write: [place.written] },
        both: { read: [place.written], write: [place.written] },
        missing: { read: [join(site.path, "not-there")] },
      };
    })
  : ({} as AttackedServer);

type FileAttack = (tools: Tools, path: string) => unknown;

const reading: Record<string, FileAttack> = {
  "fs.readFileSync": ({ fs }, path) => fs.readFileSync(path, "utf8"),
  "fs.promises.readFile": ({ fs }, path) => fs.promises.readFile(path, "utf8"),
  "fs.readFile": ({ fs }, path) =>
    new Promise((resolve, reject) => {
      fs.readFile(path, "utf8", (error, text) => (error ? reject(error) : resolve(text)));
    }),
  "fs.createReadStream": async ({ fs }, path) => {
    let text = "";
    for await (const chunk of fs.createReadStream(path, "utf8")) text += chunk;
    return text;
  },
  "fs.openSync": ({ fs }, path) => {
    const fd = fs.openSync(path, "r");
    const text = fs.readFileSync(fd, "utf8");
    fs.closeSync(fd);
    return text;
  },
  "Bun.file": (_, path) => Bun.file(path).text(),
  "Bun.file as a stream": (_, path) => new Response(Bun.file(path).stream()).text(),
  "fetch of a file": async (_, path) => (await fetch(`file://${path}`)).text(),
  "fs.copyFileSync": ({ fs, os }, path) => {
    const copy = `${os.tmpdir()}/copy`;
    fs.copyFileSync(path, copy);
    return fs.readFileSync(copy, "utf8");
  },
  "/proc/self/root": ({ fs }, path) => fs.readFileSync(`/proc/self/root${path}`, "utf8"),
  "/proc/self/cwd": ({ fs }, path) =>
    fs.readFileSync(`/proc/self/cwd/../../../../../../../..${path}`, "utf8"),
  "a relative path": ({ fs }, path) => {
    const before = process.cwd();
    process.chdir(path.slice(0, path.lastIndexOf("/")));
    try {
      return fs.readFileSync("file", "utf8");
    } finally {
      process.chdir(before);
    }
  },
  "a symbolic link of its own": ({ fs, os }, path) => {
    const link = `${os.tmpdir()}/link-${Math.random()}`;
    fs.symlinkSync(path, link);
    return fs.readFileSync(link, "utf8");
  },
  "a raw openat": ({ fs, sys, nr }, path) => {
    const fd = sys(nr.openat, -100, path, 0);
    if (fd < 0) throw Object.assign(new Error("openat"), { code: `${fd}` });
    return fs.readFileSync(fd, "utf8");
  },
  "an O_PATH descriptor opened again": ({ fs }, path) => {
    const fd = fs.openSync(path, 0o10000000);
    try {
      return fs.readFileSync(`/proc/self/fd/${fd}`, "utf8");
    } finally {
      fs.closeSync(fd);
    }
  },
};

describe.skipIf(!hasSandbox)(sandboxed("reading"), () => {
  for (const [name, attack] of Object.entries(reading)) {
    test(`by ${name}: what 'read' declares, and nothing else`, async () => {
      expect(worked(await attempt("read", attack, join(place.inside, "file")))).toBe("text");
      expect(worked(await attempt("all", attack, join(place.outside, "file")))).toBe("text");
      refusal(await attempt("read", attack, join(place.outside, "file")));
      refusal(await attempt("none", attack, join(place.inside, "file")));
    });
  }

  test("by a symbolic link that leads out of a declared folder", async () => {
    const [attack, link] = [reading["fs.readFileSync"] as FileAttack, join(place.inside, "symbolic")];
    expect(worked(await attempt("all", attack, link))).toBe("text");
    expect(refusal(await attempt("read", attack, link))).toBe("EACCES");
  });

  test("a folder is listed only where 'read' declares it", async () => {
    const attack: FileAttack = ({ fs }, path) => fs.readdirSync(path).length > 0;
    expect(worked(await attempt("read", attack, place.inside))).toBe(true);
    for (const path of [place.outside, site.path, "/", "/proc", "/etc", "/tmp"])
      expect([path, refusal(await attempt("read", attack, path))]).toEqual([path, "EACCES"]);
  });

  test("a path that was not there when the process started grants nothing", async () => {
    const path = join(site.path, "not-there");
    await attempt("missing", () => "started");
    writeFileSync(path, "late");
    expect(refusal(await attempt("missing", reading["Bun.file"] as FileAttack, path))).toBe("EACCES");
  });

  test("the server's keys, the trust file, the sources of modules and the server itself cannot be read", async () => {
    const pid = server.process.pid;
    const { result } = await client.exec("all.ts", JSON.stringify({ attack: "() => process.pid" }));
    const other = JSON.parse(result).value;
    const secrets = [
      ...["certs/server.key", "certs/client.key", "certs/server.crt", "trusted-keys.json"].map((name) =>
        join(site.path, name),
      ),
      ...["all.ts", "none.ts", "hello.ts"].map((name) => join(site.path, "mods", name)),
      ...[pid, other].flatMap((of) =>
        ["environ", "cmdline", "maps", "mem", "status", "fd/0"].map((name) => `/proc/${of}/${name}`),
      ),
      `/proc/${pid}/root/etc/passwd`,
      `/proc/${pid}/cwd/trusted-keys.json`,
      "/etc/passwd",
      "/etc/shadow",
    ];
    const attack: FileAttack = ({ fs }, path) => fs.closeSync(fs.openSync(path, "r"));
    for (const path of secrets)
      expect([path, refusal(await attempt("none", attack, path))]).toEqual([path, "EACCES"]);
    worked(await attempt("all", attack, join(site.path, "certs/server.key")));
    worked(await attempt("all", attack, `/proc/${pid}/environ`));
  });

  test("the descriptors of the server and of another module can be neither listed nor followed", async () => {
    const list: FileAttack = ({ fs }, path) => fs.readdirSync(path).length;
    const follow: FileAttack = ({ fs }, path) => fs.readlinkSync(path);
    const folder = `/proc/${server.process.pid}/fd`;
    worked(await attempt("all", list, folder));
    worked(await attempt("all", follow, `${folder}/0`));
    expect(refusal(await attempt("none", list, folder))).toBe("EACCES");
    expect(refusal(await attempt("none", follow, `${folder}/0`))).toBe("EACCES");
  });

  test("a process starts with its standard streams and its socket, and no other file of the server", async () => {
    const descriptors = worked(
      await attempt("none", ({ fs }) =>
        fs.readdirSync("/proc/self/fd").flatMap((fd) => {
          try {
            return [`${fd} ${fs.readlinkSync(`/proc/self/fd/${fd}`)}`];
          } catch {
            return []; // That of the listing itself.
          }
        }),
      ),
    );
    // The runtime's own: event queues, timers, notifications. The sandbox's: what of /proc may be read.
    const others = descriptors.filter((text) => !/^\d+ (anon_inode:|\/memfd:|\/proc\/)/.test(text));
    expect(others.map((text) => text.replace(/\[\d+\]$/, "")).sort()).toEqual([
      "0 /dev/null",
      expect.stringMatching(/^1 (pipe|socket):/),
      expect.stringMatching(/^2 (pipe|socket):/),
      "3 socket:",
    ]);
  });
});

const writing: Record<string, FileAttack> = {
  "fs.writeFileSync": ({ fs }, path) => fs.writeFileSync(path, "new"),
  "fs.promises.writeFile": ({ fs }, path) => fs.promises.writeFile(path, "new"),
  "fs.appendFileSync": ({ fs }, path) => fs.appendFileSync(path, "new"),
  "fs.createWriteStream": ({ fs }, path) =>
    new Promise<void>((resolve, reject) => {
      fs.createWriteStream(path)
        .on("error", reject)
        .on("close", () => resolve())
        .end("new");
    }),
  "Bun.write": (_, path) => Bun.write(path, "new"),
  "Bun.write of a file": async ({ os }, path) => {
    await Bun.write(`${os.tmpdir()}/from`, "new");
    await Bun.write(path, Bun.file(`${os.tmpdir()}/from`));
  },
  "Bun.file().writer()": async (_, path) => {
    const writer = Bun.file(path).writer();
    writer.write("new");
    await writer.end();
  },
  "fs.truncateSync": ({ fs }, path) => fs.truncateSync(path, 1),
  "fs.unlinkSync": ({ fs }, path) => fs.unlinkSync(path),
  "fs.rmSync": ({ fs }, path) => fs.rmSync(path),
  "fs.renameSync": ({ fs }, path) => fs.renameSync(path, `${path}.renamed`),
  "fs.mkdirSync": ({ fs }, path) => fs.mkdirSync(`${path}.folder`),
  "fs.symlinkSync": ({ fs }, path) => fs.symlinkSync("anything", `${path}.link`),
  "fs.copyFileSync": ({ fs, os }, path) => {
    fs.writeFileSync(`${os.tmpdir()}/from`, "new");
    fs.copyFileSync(`${os.tmpdir()}/from`, path);
  },
};

/** What is in a folder, for comparison. */
const listing = (folder: string) =>
  [...new Bun.Glob("**/*").scanSync({ cwd: folder, dot: true, onlyFiles: false })]
    .sort()
    .map((name) => [
      name,
      existsSync(join(folder, name)) && name === "file" ? readFileSync(join(folder, name), "utf8") : "",
    ]);

describe.skipIf(!hasSandbox)(sandboxed("writing"), () => {
  for (const [name, attack] of Object.entries(writing)) {
    test(`by ${name}: what 'write' declares, and nothing else`, async () => {
      for (const folder of [place.written, place.outside, place.inside]) {
        for (const rest of [".renamed", ".folder", ".link"])
          await Bun.$`rm -rf ${join(folder, `file${rest}`)}`;
        writeFileSync(join(folder, "file"), "text");
      }
      const before = [listing(place.outside), listing(place.inside)];
      refusal(await attempt("write", attack, join(place.outside, "file")));
      refusal(await attempt("none", attack, join(place.written, "file")));
      refusal(await attempt("read", attack, join(place.inside, "file")));
      expect([listing(place.outside), listing(place.inside)]).toEqual(before);
      worked(await attempt("write", attack, join(place.written, "file")));
      worked(await attempt("all", attack, join(place.outside, "file")));
      expect(listing(place.outside)).not.toEqual(before[0] as never);
    });
  }

  test("'write' alone does not read, and 'read' does not write", async () => {
    writeFileSync(join(place.written, "file"), "text");
    const [read, write] = [
      reading["fs.readFileSync"] as FileAttack,
      writing["fs.writeFileSync"] as FileAttack,
    ];
    expect(refusal(await attempt("write", read, join(place.written, "file")))).toBe("EACCES");
    expect(worked(await attempt("both", read, join(place.written, "file")))).toBe("text");
    expect(refusal(await attempt("read", write, join(place.inside, "file")))).toBe("EACCES");
  });

  test("nothing is moved or linked out of a declared folder, or into it", async () => {
    const [mine, theirs] = [join(place.written, "mine"), join(place.outside, "theirs")];
    writeFileSync(mine, "mine");
    writeFileSync(theirs, "theirs");
    const move = ({ fs }: Tools, [from, to]: string[]) => fs.renameSync(from as string, to as string);
    const link = ({ fs }: Tools, [from, to]: string[]) => fs.linkSync(from as string, to as string);
    for (const attack of [move, link]) {
      for (const [from, to] of [
        [mine, join(place.outside, "out")],
        [theirs, join(place.written, "in")],
        [join(site.path, "certs/server.key"), join(place.written, "key")],
      ]) {
        expect(refusal(await attempt("both", attack, [from as string, to as string]))).toMatch(
          /^(EACCES|EXDEV|EPERM)$/,
        );
        expect([existsSync(from as string), existsSync(to as string)]).toEqual([true, false]);
      }
      worked(await attempt("both", attack, [mine, `${mine}-${attack === move ? "moved" : "linked"}`]));
      writeFileSync(mine, "mine");
    }
  });

  test("a file whose mode would lend the module's user to others is not created", async () => {
    const create = ({ sys, nr, fs }: Tools, [path, mode]: [string, number]) => {
      const fd = sys(nr.openat, -100, path, 0o101, mode);
      return fd < 0 ? fd : fs.fstatSync(fd).mode & 0o7777;
    };
    for (const mode of [0o4755, 0o2755]) {
      const path = join(place.written, `mode-${mode}`);
      expect(worked(await attempt("write", create, [path, mode]))).toBe(-13);
      expect(existsSync(path)).toBe(false);
      expect(worked(await attempt("all", create, [path, mode]))).toBe(mode);
    }
    expect(worked(await attempt("write", create, [join(place.written, "mode-755"), 0o755]))).toBe(0o755);
    // openat2 has its mode in memory, where a filter cannot look.
    expect(worked(await attempt("write", ({ sys }) => sys(437, -100, "/", new Uint8Array(24), 24)))).toBe(
      -38,
    );
  });

  test("a hard link that is inside already is inside, and its other name is not", async () => {
    writeFileSync(join(place.outside, "linked"), "linked");
    linkSync(join(place.outside, "linked"), join(place.inside, "linked"));
    const read = reading["fs.readFileSync"] as FileAttack;
    expect(worked(await attempt("read", read, join(place.inside, "linked")))).toBe("linked");
    expect(refusal(await attempt("read", read, join(place.outside, "linked")))).toBe("EACCES");
  });

  test("the server's files keep their modes, owners, times and attributes", async () => {
    const changes: Record<string, FileAttack> = {
      chmod: ({ fs }, path) => fs.chmodSync(path, 0o777),
      fchmod: ({ fs }, path) => fs.fchmodSync(fs.openSync(path, "r"), 0o777),
      chown: ({ fs }, path) => fs.chownSync(path, 0, 0),
      lchown: ({ fs }, path) => fs.lchownSync(path, 0, 0),
      utimes: ({ fs }, path) => fs.utimesSync(path, 1, 1),
      lutimes: ({ fs }, path) => fs.lutimesSync(path, 1, 1),
      setxattr: ({ sys, nr }, path) => {
        const result = sys(nr.setxattr, path, "user.veripy", "1", 1, 0);
        if (result < 0)
          throw Object.assign(new Error("setxattr"), { code: result === -13 ? "EACCES" : String(result) });
      },
    };
    for (const [name, attack] of Object.entries(changes)) {
      for (const path of [
        join(site.path, "certs"),
        join(site.path, "trusted-keys.json"),
        join(site.path, "mods/none.ts"),
      ])
        expect([name, refusal(await attempt("none", attack, path))]).toEqual([name, "EACCES"]);
      // 'read' opens the file; the filter cannot tell where a descriptor leads.
      expect([name, refusal(await attempt("read", attack, join(place.inside, "file")))]).toEqual([
        name,
        "EACCES",
      ]);
      if (name !== "setxattr") worked(await attempt("all", attack, join(place.outside, "file")));
    }
  });
});

describe.skipIf(!hasSandbox || process.getuid?.() !== 0)(sandboxed("the runtime's own files"), () => {
  test("can be read for as long as the process lives, also when the kernel has forgotten that they were", async () => {
    const attack = ({ fs, os }: Tools) => {
      for (const path of [
        "/proc/self/status",
        "/proc/meminfo",
        "/proc/cpuinfo",
        "/sys/devices/system/cpu/online",
      ])
        fs.readFileSync(path);
      return process.memoryUsage().rss > 0 && os.cpus().length > 0;
    };
    expect(worked(await attempt("none", attack))).toBe(true);
    writeFileSync("/proc/sys/vm/drop_caches", "2");
    expect(worked(await attempt("none", attack))).toBe(true);
  });
});

describe.skipIf(!hasSandbox)(sandboxed("the temporary folder"), () => {
  test("is the module's own, can be written and read, and goes with the process", async () => {
    const folder = worked(
      await attempt("none", ({ fs, os }) => {
        const path = fs.mkdtempSync(`${os.tmpdir()}/deep-`);
        fs.writeFileSync(`${path}/file`, "mine", { mode: 0o640 });
        fs.symlinkSync("/etc", `${path}/link`);
        if (fs.readFileSync(`${path}/file`, "utf8") !== "mine") throw new Error("It was not written.");
        return os.tmpdir();
      }),
    );
    expect(existsSync(folder)).toBe(true);
    const list: FileAttack = ({ fs }, path) => fs.readdirSync(path).length;
    refusal(await attempt("read", list, folder));
    await attempt("none", () => process.exit(0)).catch(() => {});
    await eventually("the folder to be gone", () => !existsSync(folder));
    const next = worked(
      await attempt("none", ({ fs, os }) => [os.tmpdir(), fs.readdirSync(os.tmpdir()).length] as const),
    );
    expect(next[0]).not.toBe(folder);
    expect(next[1]).toBe(0);
    expect(existsSync("/etc/passwd")).toBe(true);
  });

  test("of another module cannot be reached", async () => {
    const folder = worked(await attempt("read", ({ os }) => os.tmpdir()));
    expect(
      refusal(await attempt("none", writing["fs.writeFileSync"] as FileAttack, join(folder, "file"))),
    ).toBe("EACCES");
    worked(await attempt("read", writing["fs.writeFileSync"] as FileAttack, join(folder, "file")));
  });
});
