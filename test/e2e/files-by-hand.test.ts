import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { binaries } from "../helpers/binaries.ts";
import { Running, run } from "../helpers/processes.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";
import { jsonLines, openssl } from "../helpers/tools.ts";

setDefaultTimeout(30_000);

/** A project as people make one without VeriPy's help: keys by openssl, the trust file in an editor. */
async function project(): Promise<{ path: string; sh(script: string): Promise<string> } & AsyncDisposable> {
  const directory = await temporaryDirectory();
  const sh = async (script: string) => {
    const { exitCode, stdout, stderr } = await run(["sh", "-c", script], { cwd: directory.path });
    if (exitCode !== 0) throw new Error(stderr);
    return stdout;
  };
  for (const role of ["server", "client"]) {
    await sh(
      `openssl req -x509 -newkey ed25519 -nodes -keyout ${role}.key -out ${role}.crt -days 30 -subj /CN=${role}`,
    );
  }
  await mkdir(join(directory.path, "mods"));
  await writeFile(
    join(directory.path, "mods/hello.ts"),
    'export const execute = (args: string) => "Hello, " + args + "!";\n',
  );
  return { ...directory, sh };
}

test.skipIf(openssl === undefined)(
  "keys made by openssl and a trust file written by hand, all in the project's root, are enough",
  async () => {
    await using here = await project();
    const built = await binaries();
    const sum = await here.sh(
      "openssl x509 -in client.crt -pubkey -noout | openssl pkey -pubin -outform der | sha256sum",
    );
    const [fingerprint = ""] = sum.split(" ");
    const trusted = join(here.path, "trusted-keys.json");
    await writeFile(trusted, `{"trusted_fingerprints": ["${fingerprint}"]}\n`);

    await using server = new Running([built.server, "--certs", ".", "--port", "0", "--json"], {
      cwd: here.path,
    });
    const { port } = JSON.parse(await server.line('"port":')) as { port: number };
    const flags = ["--certs", ".", "--port", String(port)];
    const client = (...args: string[]) => run([built.client, ...flags, ...args], { cwd: here.path });
    const listed = await client("list", "--json");
    expect(listed).toMatchObject({ exitCode: 0, stderr: "" });
    expect(jsonLines(listed.stdout)).toMatchObject([{ mod: "hello.ts" }]);
    expect(await client("exec", "hello", "World")).toMatchObject({ exitCode: 0, stdout: "Hello, World!\n" });

    // And the commands read and write the same form.
    const manage = (...args: string[]) => run([built.server, ...args], { cwd: here.path });
    const other = "ab".repeat(32);
    expect((await manage("trust", other)).exitCode).toBe(0);
    expect(await Bun.file(trusted).json()).toEqual({ trusted_fingerprints: [fingerprint, other] });
    expect((await manage("untrust", fingerprint)).exitCode).toBe(0);
    expect(await Bun.file(trusted).json()).toEqual({ trusted_fingerprints: [other] });
    await server.line("Trusted keys changed: 1 now");
    expect((await client("list")).exitCode).toBe(3);
  },
);
