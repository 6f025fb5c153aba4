import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VeripyError } from "../../base/errors.ts";
import { isThere } from "../../base/files.ts";
import { catalogueNamespace } from "../../catalogue/signed-catalogue.ts";

/**
 * Has `ssh-keygen -Y sign` sign a text, and returns the armoured signature. `key` is the file of a private key, or of a
 * public key whose private half an agent or a security key has. What ssh-keygen asks and says goes to the terminal. Throws
 * `bad_config` when there is no signature.
 */
export async function signWithSshKeygen(text: string, key: string): Promise<string> {
  if (!(await isThere(key).catch(() => true)))
    throw new VeripyError("bad_config", `Cannot sign with ${key}: there is no such file.`);
  const folder = await mkdtemp(join(tmpdir(), "veripy-sign-"));
  try {
    const file = join(folder, "veripy.catalogue");
    await Bun.write(file, text);
    const exitCode = await runSshKeygen(["-q", "-Y", "sign", "-n", catalogueNamespace, "-f", key, file]);
    if (exitCode !== 0)
      throw new VeripyError(
        "bad_config",
        `Cannot sign with ${key}: ssh-keygen failed with exit code ${exitCode}, and says why above. Nothing was changed.`,
      );
    return await readFile(`${file}.sig`, "utf8");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function runSshKeygen(args: readonly string[]): Promise<number> {
  try {
    // Its messages and its prompts are for the person who signs: a passphrase, a touch of the security key.
    const child = Bun.spawn(["ssh-keygen", ...args], { stdio: ["inherit", "ignore", "inherit"] });
    return await child.exited;
  } catch (error) {
    throw new VeripyError(
      "bad_config",
      "Cannot sign: there is no 'ssh-keygen' in PATH. It comes with OpenSSH; install it, or sign the output of " +
        "'veripy-server sign --print' on another machine.",
      { cause: error },
    );
  }
}

const defaultKeys = ["id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk"];

/** The only key of its usual names in `folder`, `~/.ssh`. Throws `bad_config` when there is none, or more than one. */
export async function defaultSigningKey(folder: string): Promise<string> {
  const found: string[] = [];
  for (const name of defaultKeys) {
    const path = join(folder, name);
    if (await isThere(path).catch(() => false)) found.push(path);
  }
  const [key] = found;
  if (key !== undefined && found.length === 1) return key;
  const why =
    key === undefined ? `there is no key in ${folder}` : `there is more than one: ${found.join(", ")}`;
  throw new VeripyError(
    "bad_config",
    `Cannot choose the key to sign with: ${why}. Name one with --key FILE.`,
  );
}
