import { type VeripyClient, VeripyError } from "../index.ts";
import { styled } from "./text.ts";
import { note } from "./ui.ts";

/** Why the permissions of modules are not, or may not be, enforced by their server; undefined where they are. */
export async function notEnforced(client: VeripyClient): Promise<string | undefined> {
  // A server of the plain protocol must not be asked.
  if (isPlain(client)) return "it speaks only the plain form of the protocol";
  try {
    const { sandbox } = await client.info();
    if (sandbox === undefined) return "it does not say that it has a sandbox";
    if (sandbox.enforced) return undefined;
    return sandbox.mode === "off" ? "its sandbox is off" : "its system can't enforce all of them";
  } catch (error) {
    if (error instanceof VeripyError) return `it did not say whether it does (${error.message})`;
    throw error;
  }
}

/** Says on standard error why a server does not enforce permissions. */
export function noteNotEnforced(why: string | undefined): void {
  if (why !== undefined)
    note`${styled("yellow", "warning")}: This server does not enforce the permissions of its modules: ${why}.`;
}

function isPlain({ reports }: VeripyClient): boolean {
  return reports.size > 0 && [...reports.values()].every(({ tree }) => tree === undefined);
}
