import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { trustText } from "../helpers/keys.ts";
import { Running, run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { python, pythonFixture } from "../helpers/tools.ts";
import { eventually } from "../helpers/within.ts";

setDefaultTimeout(20_000);

describe.skipIf(python === undefined || process.platform !== "linux")("under a service manager", () => {
  /** The manager's end, which prints each datagram that it gets. */
  async function manager(address: string): Promise<Running> {
    const receiver = new Running(pythonFixture("notify_socket.py", address));
    await receiver.line("listening");
    return receiver;
  }
  const environment = (address: string, more: Record<string, string> = {}) => ({
    PATH: process.env.PATH ?? "",
    NOTIFY_SOCKET: address,
    ...more,
  });

  test.each([
    ["a path", (site: Site) => join(site.path, "notify")],
    ["an abstract name", (site: Site) => `@veripy-test${site.path.replaceAll("/", "-")}`],
  ])("at %s a server says when it is ready, that it lives, and when it stops", async (_, addressOf) => {
    await using site = await Site.create();
    const address = addressOf(site);
    await using receiver = await manager(address);
    const server = await site.start([], environment(address, { WATCHDOG_USEC: "400000" }));
    const ready = JSON.parse(await receiver.line("READY=1")) as string;
    expect(ready).toBe(`READY=1\nSTATUS=Listening on 127.0.0.1:${site.port}, [::1]:${site.port}`);
    await eventually(
      "three signs of life",
      () => receiver.stdout.filter((line) => line.includes("WATCHDOG=1")).length >= 3,
    );
    // Nothing before it was ready.
    expect(receiver.stdout[1]).toBe(JSON.stringify(ready));

    server.process.kill("SIGTERM");
    await receiver.line("STOPPING=1");
    expect(await server.ended()).toBe(0);
    expect(receiver.stdout.at(-1)).toBe('"STOPPING=1"');
  });

  test("a server without a watchdog sends no signs of life", async () => {
    await using site = await Site.create();
    const address = join(site.path, "notify");
    await using receiver = await manager(address);
    const server = await site.start([], environment(address));
    await receiver.line("READY=1");
    server.process.kill("SIGTERM");
    await receiver.line("STOPPING=1");
    await server.ended();
    expect(receiver.stdout.join("\n")).not.toContain("WATCHDOG");
  });

  test("a server that cannot start does not say that it is ready", async () => {
    await using site = await Site.create();
    const address = join(site.path, "notify");
    await using receiver = await manager(address);
    await writeFile(join(site.path, "trusted-keys.json"), "{");
    expect((await site.manage(["--port", "0"], { env: environment(address) })).exitCode).toBe(2);
    await writeFile(join(site.path, "trusted-keys.json"), trustText());
    await site.start([], environment(address));
    await receiver.line("READY=1");
    expect(receiver.stdout).toHaveLength(2);
  });

  test("its modules do not see the manager's socket", async () => {
    await using site = await Site.create({
      "env.ts": "export const execute = async () => JSON.stringify(process.env);",
    });
    const address = join(site.path, "notify");
    await using receiver = await manager(address);
    await site.start([], environment(address, { WATCHDOG_USEC: "400000" }));
    await receiver.line("READY=1");
    const { stdout } = await site.call(["exec", "env"]);
    expect(stdout).toContain("PATH");
    expect(stdout).not.toMatch(/NOTIFY_SOCKET|WATCHDOG_USEC/);
  });

  test.each([["/nowhere/notify"], [`/${"x".repeat(200)}`], ["neither"], [""]])(
    "that is not there, at %j, a server serves all the same",
    async (address) => {
      await using site = await Site.create();
      await site.start([], environment(address, { WATCHDOG_USEC: "garbage" }));
      expect((await site.call(["exec", "hello"])).stdout).toBe("Hello, World!\n");
    },
  );
});

describe("veripy-server unit", () => {
  async function unit(directory: string, ...flags: string[]): Promise<string> {
    await using site = await Site.create();
    const { exitCode, stdout, stderr } = await run([site.server, "unit", ...flags], { cwd: directory });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    return stdout;
  }

  test("prints a unit for this executable in this folder", async () => {
    await using site = await Site.create();
    const text = await unit(site.path, "--user", "nobody", "--port", "443");
    expect(text).toContain("Type=notify\n");
    expect(text).toContain(`ExecStart=${site.server} start --interface localhost --port 443\n`);
    expect(text).toContain(`WorkingDirectory=${site.path}\n`);
    expect(text).toContain("User=nobody\n");
    expect(text).toContain("CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n");
    expect(await unit(site.path, "--user", "nobody")).toContain("CapabilityBoundingSet=\n");
  });

  test("has the address that 'start' would use", async () => {
    await using site = await Site.create();
    const startOf = async (flags: string[], env: Record<string, string> = {}) => {
      const { stdout } = await site.manage(["unit", "--user", "nobody", ...flags], { env });
      return / start (.*)$/m.exec(stdout)?.[1];
    };
    expect(await startOf([])).toBe("--interface localhost --port 8443");
    expect(await startOf(["-i", "::1", "-p", "9443"])).toBe("--interface ::1 --port 9443");
    const env = { VERIPY_INTERFACE: "0.0.0.0", VERIPY_PORT: "9444" };
    expect(await startOf([], env)).toBe("--interface 0.0.0.0 --port 9444");
    expect(await startOf(["--interface", "localhost"], env)).toBe("--interface localhost --port 9444");
    expect((await site.manage(["unit", "-i", "not an address"])).exitCode).toBe(2);
  });

  test("accepts only a user's name, and warns about a user that this machine does not have", async () => {
    await using site = await Site.create();
    for (const user of ["", "a b", "x\nExecStart=/bin/sh", "-x", "a".repeat(32)]) {
      const refused = await site.manage(["unit", `--user=${user}`]);
      expect({ user, ...refused }).toMatchObject({ user, exitCode: 2, stdout: "" });
    }
    const absent = await site.manage(["unit", "--user", "no-such-user"]);
    expect(absent).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("User=no-such-user\n") });
    expect(absent.stderr).toContain("has no user 'no-such-user'");
    expect((await site.manage(["unit", "--user", "root"])).stderr).toBe("");
  });

  const analyze = Bun.which("systemd-analyze");
  test.skipIf(analyze === null)(
    "is content with systemd-analyze verify, whatever the folder is called",
    async () => {
      await using site = await Site.create();
      const odd = join(site.path, 'odd %h fo\\lder\'s "name"');
      await mkdir(odd);
      for (const directory of [site.path, odd]) {
        const file = join(site.path, "veripy.service");
        await writeFile(file, await unit(directory, "--user", "root"));
        const { exitCode, stdout, stderr } = await run([analyze ?? "", "verify", "--man=no", file]);
        const about = [...stdout.split("\n"), ...stderr.split("\n")].filter((line) =>
          line.includes("veripy.service"),
        );
        expect({ exitCode, about }).toEqual({ exitCode: 0, about: [] });
      }
      // The twin: a mistake is noticed.
      const file = join(site.path, "broken.service");
      await writeFile(
        file,
        (await unit(site.path, "--user", "root")).replace("Type=notify", "Type=nonsense"),
      );
      const { stderr } = await run([analyze ?? "", "verify", "--man=no", file]);
      expect(stderr).toContain("nonsense");
    },
  );
});
