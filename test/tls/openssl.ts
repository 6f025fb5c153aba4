import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Identity } from "../../src/identity/identity.ts";
import { eventually, within } from "../helpers/within.ts";
import { temporaryDirectory } from "../identity/temporary.ts";

/** Writes what a program that is not ours wants as files. */
export function filesOf({ keyPem, certificatePem }: Pick<Identity, "keyPem" | "certificatePem">): {
  key: string;
  certificate: string;
} {
  const dir = temporaryDirectory();
  const files = { key: join(dir, "x.key"), certificate: join(dir, "x.crt") };
  writeFileSync(files.key, keyPem, { mode: 0o600 });
  writeFileSync(files.certificate, certificatePem);
  return files;
}

/** Sends `input` by `openssl s_client`, which stays until the server closes, and returns all that it printed. */
export async function opensslClient(port: number, args: readonly string[], input: string): Promise<string> {
  const child = Bun.spawn(["openssl", "s_client", "-connect", `127.0.0.1:${port}`, "-quiet", ...args], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
  });
  try {
    child.stdin.write(input);
    child.stdin.flush();
    // Standard input stays open, so what ends the program is the server.
    const [out, err] = await within(
      5_000,
      "openssl to end",
      Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]),
    );
    return out + err;
  } finally {
    child.kill();
    await child.exited;
  }
}

/** `openssl s_server` on a free port. */
export class OpensslServer implements AsyncDisposable {
  readonly port: number;
  readonly #child: Bun.Subprocess;

  private constructor(port: number, child: Bun.Subprocess) {
    this.port = port;
    this.#child = child;
  }

  static async start(
    identity: Pick<Identity, "keyPem" | "certificatePem">,
    ...args: string[]
  ): Promise<OpensslServer> {
    const { key, certificate } = filesOf(identity);
    const child = Bun.spawn(
      ["openssl", "s_server", "-accept", "0", "-cert", certificate, "-key", key, ...args],
      {
        stdin: "pipe",
        stdout: "pipe",
        stderr: "ignore",
      },
    );
    let text = "";
    const reading = (async () => {
      for await (const chunk of child.stdout) text += Buffer.from(chunk).toString();
    })();
    reading.catch(() => {});
    const port = await eventually("openssl to listen", () => /ACCEPT \S*:(\d+)/.exec(text)?.[1]);
    return new OpensslServer(Number(port), child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill();
    await this.#child.exited;
  }
}
