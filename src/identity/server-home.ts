import { VeripyError } from "../base/errors.ts";
import { isThere } from "../base/files.ts";
import { identityFiles } from "./identity.ts";
import { identityError } from "./identity-error.ts";

/**
 * Throws `bad_config` when there is no server's key or no trust file, so that a command does not leave files in a
 * directory that belongs to no server.
 */
export async function refuseWithoutServer(certsDir: string, trustedKeysPath: string): Promise<void> {
  for (const path of [identityFiles(certsDir, "server").key, trustedKeysPath]) {
    const exists = await isThere(path).catch((error) => {
      throw identityError(`Cannot read ${path}`, error);
    });
    if (exists) continue;
    throw new VeripyError(
      "bad_config",
      `There is no server here: ${path} does not exist. Run 'veripy-server init' to create one. ` +
        "If its files are elsewhere, give their paths with --certs and --trusted-keys.",
    );
  }
}
