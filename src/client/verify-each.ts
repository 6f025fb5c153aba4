import { messageOf, VeripyError } from "../base/errors.ts";
import { Gate } from "../base/semaphore.ts";
import type { Verdict } from "./verifier.ts";

/** A verdict, or why there is none. */
export type VerifyOutcome =
  | { readonly mod: string; readonly verdict: Verdict }
  | { readonly mod: string; readonly error: VeripyError };

export interface VerifyAllOptions {
  /** Module names; default: all that the server reports. */
  mods?: readonly string[];
  /** Called for each module as soon as there is an outcome. */
  onOutcome?(outcome: VerifyOutcome): void;
}

/**
 * How many modules are asked for at a time. On a slow link more would only make all of them late; on a long one this
 * many fill it.
 */
export const verifiedAtOnce = 32;
/** How often a module is asked for before it counts as not fetched. */
const attempts = 3;
/** What is worth asking again for: the link was slow or the server busy. */
const passing: readonly string[] = ["timeout", "busy"];

/** Verifies each module, at most `verifiedAtOnce` at a time; the outcomes come in the order of `mods`. Never rejects. */
export function verifyEach(
  mods: readonly string[],
  verify: (mod: string) => Promise<Verdict>,
  onOutcome: (outcome: VerifyOutcome) => void = () => {},
): Promise<VerifyOutcome[]> {
  const gate = new Gate(verifiedAtOnce);
  return Promise.all(
    mods.map((mod) =>
      gate.run(async () => {
        const outcome = await outcomeOf(mod, verify);
        onOutcome(outcome);
        return outcome;
      }),
    ),
  );
}

async function outcomeOf(mod: string, verify: (mod: string) => Promise<Verdict>): Promise<VerifyOutcome> {
  for (let attempt = 1; ; attempt++) {
    try {
      return { mod, verdict: await verify(mod) };
    } catch (error) {
      const known =
        error instanceof VeripyError ? error : new VeripyError("protocol_error", messageOf(error));
      if (attempt === attempts || !passing.includes(known.code)) return { mod, error: known };
    }
  }
}
