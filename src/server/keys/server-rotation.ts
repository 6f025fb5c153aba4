import { VeripyError } from "../../base/errors.ts";
import type { Fingerprint } from "../../identity/fingerprint.ts";
import {
  loadNextIdentity,
  prepareNextIdentity,
  resumeSwap,
  swapIdentity,
} from "../../identity/next-identity.ts";

export interface ServerRotation {
  /** The key in use. */
  readonly old: Fingerprint;
  /** The key that is to replace it. */
  readonly new: Fingerprint;
}

/**
 * Makes the key that will replace the server's current one, as `server.key.next` and `server.crt.next` in `certsDir`. A
 * running server announces it to its clients within a second. Throws `bad_config` when a rotation is already in
 * progress, and `bad_identity` when there is no current key or the files cannot be written.
 */
export async function beginServerRotation(certsDir: string): Promise<ServerRotation> {
  const { current, next, created } = await prepareNextIdentity(certsDir, "server");
  if (!created) {
    throw new VeripyError(
      "bad_config",
      `A rotation is already in progress: ${next.fingerprint} will replace ${current.fingerprint}. Run ` +
        `'veripy-server rotate --finish' to switch to it, or delete server.key.next and server.crt.next in ${certsDir} to cancel.`,
    );
  }
  return { old: current.fingerprint, new: next.fingerprint };
}

/**
 * Switches to the key that `beginServerRotation` made and returns its fingerprint; the old key is kept as
 * `server.key.old`. Run again after an interruption, it completes the switch. A running server picks up the new key
 * within a second. Throws `bad_config` when no rotation is in progress.
 */
export async function finishServerRotation(certsDir: string): Promise<Fingerprint> {
  const resumed = await resumeSwap(certsDir, "server");
  if (resumed === undefined && (await loadNextIdentity(certsDir, "server")) === undefined) {
    throw new VeripyError(
      "bad_config",
      `There is no rotation to finish in ${certsDir}. Run 'veripy-server rotate' to begin one.`,
    );
  }
  const { fingerprint } = resumed ?? (await swapIdentity(certsDir, "server"));
  return fingerprint;
}
