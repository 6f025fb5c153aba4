import {
  type CallArguments,
  type ExecOptions,
  type ExecResult,
  type VeripyClient,
  VeripyError,
} from "../index.ts";
import type { ExecOutput } from "./exec-output.ts";
import { PendingNote } from "./pending-note.ts";

/**
 * Calls a module, and writes what it yields and returns. If that is an approved version, and not the current one, a note says
 * so. Rejects as `VeripyClient.exec` does. The output stays open.
 */
export async function callModule(
  client: VeripyClient,
  mod: string,
  args: CallArguments,
  output: ExecOutput,
  options: Pick<ExecOptions, "timeoutMs" | "repeat" | "signal">,
): Promise<ExecResult> {
  const pending = new PendingNote(client, mod);
  try {
    const result = await client.exec(mod, args, {
      ...options,
      onPart: (data) => {
        pending.say();
        output.part(data);
      },
      onProgress: (progress) => output.progress(progress),
    });
    pending.say();
    await output.result(result);
    return result;
  } catch (error) {
    // A call that was not made ran no version.
    if (error instanceof VeripyError && error.started !== false) pending.say();
    throw error;
  }
}
