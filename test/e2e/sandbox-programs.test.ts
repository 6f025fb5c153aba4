import { describe, expect, test } from "bun:test";
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
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
import { failureOf } from "../helpers/witness.ts";

// What a module can start, and what that can do, in the built executables.

const place = { folder: "", script: "", otherScript: "", secret: "", library: "" };
const { site, server, attempt }: AttackedServer = hasSandbox
  ? await attackedServer((site) => {
      place.folder = join(site.path, "programs");
      place.script = join(place.folder, "script");
      place.otherScript = join(place.folder, "other");
      place.secret = join(site.path, "secret");
      place.library = join(place.folder, "library.so");
      mkdirSync(place.folder);
      writeFileSync(place.secret, "secret");
      copyFileSync(loadedLibrary(), place.library);
      for (const path of [place.script, place.otherScript]) {
        writeFileSync(path, "#!/bin/sh\necho script\n");
        chmodSync(path, 0o755);
      }
      return {
        none: undefined,
        all: "all",
        echo: { run: ["echo"] },
        script: { run: [place.script] },
        sh: { run: ["sh", "cat"] },
        read: { read: [place.folder] },
        missing: { run: ["no-such-program-anywhere"] },
        folder: { run: [place.folder] },
      };
    })
  : ({} as AttackedServer);

/** The C library's mathematics: a shared library that this very process uses. */
function loadedLibrary(): string {
  const path = /\s(\/\S*lib(m\.so|c\.musl)\S*)$/m.exec(readFileSync("/proc/self/maps", "utf8"))?.[1];
  if (path === undefined) throw new Error("No C library is loaded.");
  return path;
}

type RunAttack = (tools: Tools, command: string[]) => unknown;

const running: Record<string, RunAttack> = {
  "Bun.spawn": async (_, command) => (await new Response(Bun.spawn(command).stdout).text()).trim(),
  "Bun.spawnSync": (_, command) => Bun.spawnSync(command).stdout.toString().trim(),
  "Bun.$": async (_, command) => (await Bun.$`${command}`.text()).trim(),
  "child_process.execFile": ({ cp }, [file, ...args]) =>
    new Promise((resolve, reject) => {
      cp.execFile(file as string, args, (error, stdout) => (error ? reject(error) : resolve(stdout.trim())));
    }),
  "child_process.execFileSync": ({ cp }, [file, ...args]) =>
    cp
      .execFileSync(file as string, args, { stdio: "pipe" })
      .toString()
      .trim(),
  "child_process.spawn": ({ cp }, [file, ...args]) =>
    new Promise((resolve, reject) => {
      let text = "";
      const child = cp.spawn(file as string, args, { stdio: ["ignore", "pipe", "ignore"] });
      child.stdout.on("data", (data) => (text += data));
      child.on("error", reject).on("close", () => resolve(text.trim()));
    }),
};

describe.skipIf(!hasSandbox)(sandboxed("starting programs"), () => {
  const path = (name: string) => Bun.which(name) as string;
  for (const [name, attack] of Object.entries(running)) {
    test(`by ${name}: those that 'run' declares, and no other`, async () => {
      expect(worked(await attempt("script", attack, [place.script]))).toBe("script");
      expect(worked(await attempt("all", attack, [place.otherScript]))).toBe("script");
      refusal(await attempt("script", attack, [place.otherScript]));
      refusal(await attempt("echo", attack, [path("cat"), "/dev/null"]));
      refusal(await attempt("read", attack, [place.script]));
      refusal(await attempt("none", attack, [path("echo"), "x"]));
      expect(worked(await attempt("echo", attack, [path("echo"), "x"]))).toBe("x");
    });
  }

  test("no shell without 'run': a command line is refused", async () => {
    const attack = ({ cp }: Tools) => cp.execSync("echo x", { stdio: "pipe" }).toString().trim();
    expect(worked(await attempt("sh", attack))).toBe("x");
    expect(worked(await attempt("all", attack))).toBe("x");
    for (const mod of ["none", "echo", "read"]) refusal(await attempt(mod, attack));
  });

  test("a program that the module has written itself is not started", async () => {
    const attack = ({ fs, os, cp }: Tools) => {
      const script = `${os.tmpdir()}/script`;
      fs.writeFileSync(script, "#!/bin/sh\necho mine\n", { mode: 0o755 });
      return cp.execFileSync(script, { stdio: "pipe" }).toString().trim();
    };
    expect(worked(await attempt("all", attack))).toBe("mine");
    for (const mod of ["none", "sh", "echo"]) refusal(await attempt(mod, attack));
  });

  test("a module whose program is not there, or is a folder, does not load, and the log says why", async () => {
    for (const mod of ["missing", "folder"])
      expect(await failureOf(attempt(mod, () => "ran"))).toMatch(/^(not_found|bad_module|module_crashed)/);
    await server.line((line) => line.includes("missing.ts") && line.includes("no-such-program-anywhere"));
    await server.line((line) => line.includes("folder.ts") && line.includes("not a file"));
  });
});

describe.skipIf(!hasSandbox)(sandboxed("a program that a module has started"), () => {
  const shell = ({ cp }: Tools, line: string) => {
    const { status, stdout } = cp.spawnSync("sh", ["-c", line], { encoding: "utf8" });
    return `${status} ${stdout.trim()}`;
  };

  test("is bound as the module is", async () => {
    const attacks = [
      `cat ${place.secret}`,
      `cat ${join(site.path, "certs/server.key")}`,
      `echo x > ${place.secret}`,
      `cat /proc/${server.process.pid}/environ`,
      `kill -CONT ${server.process.pid}`,
      "uname",
      place.script,
    ];
    for (const line of attacks) {
      expect([line, worked(await attempt("sh", shell, line))]).toEqual([
        line,
        expect.stringMatching(/^[1-9]\d* /),
      ]);
      if (!line.includes(" > "))
        expect([line, worked(await attempt("all", shell, line))]).toEqual([
          line,
          expect.stringMatching(/^0 /),
        ]);
    }
    expect(readFileSync(place.secret, "utf8")).toBe("secret");
    expect(worked(await attempt("sh", shell, 'echo x > "$TMPDIR/x"; cat "$TMPDIR/x"'))).toBe("0 x");
  });

  test("such as the runtime itself, is bound too", async () => {
    const attack = ({ cp }: Tools, path: string) => {
      const program = `console.log(require("fs").readFileSync(${JSON.stringify(path)}, "utf8"))`;
      const env = { ...process.env, BUN_BE_BUN: "1" };
      const { status, stdout } = cp.spawnSync("/proc/self/exe", ["-e", program], { encoding: "utf8", env });
      return `${status} ${stdout.trim()}`;
    };
    expect(worked(await attempt("all", attack, place.secret))).toBe("0 secret");
    expect(worked(await attempt("none", attack, place.secret))).not.toContain("secret");
  });
});

describe.skipIf(!hasSandbox)(sandboxed("code that is no module"), () => {
  test("a shared library is loaded from where 'read' allows it", async () => {
    const load = ({ ffi }: Tools, path: string) => {
      ffi.dlopen(path, { cos: { args: ["f64"], returns: "f64" } }).close();
      return "loaded";
    };
    expect(worked(await attempt("read", load, place.library))).toBe("loaded");
    expect(worked(await attempt("all", load, place.library))).toBe("loaded");
    refusal(await attempt("none", load, place.library));
  });

  test("a Worker is refused, and threads are bound like the rest", async () => {
    const worker = () => new Worker(URL.createObjectURL(new Blob(["postMessage(1)"]))).terminate();
    refusal(await attempt("none", worker));
    // The runtime's own threads, which read files asynchronously.
    const many = async ({ fs }: Tools, path: string) => {
      const all = await Promise.allSettled(Array.from({ length: 64 }, () => fs.promises.readFile(path)));
      return all.filter(({ status }) => status === "fulfilled").length;
    };
    expect(worked(await attempt("none", many, place.secret))).toBe(0);
    expect(worked(await attempt("all", many, place.secret))).toBe(64);
  });
});
