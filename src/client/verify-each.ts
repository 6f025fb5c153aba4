import { messageOf, VeripyError } from "../base/errors.ts";
import { Gate } from "../base/semaphore.ts";
import type { Verdict } from "./verifier.ts";

/** A verdict, or the error why there is none. */
export type VerifyOutcome =
  | { readonly mod: string; readonly verdict: Verdict }
  | { readonly mod: string; readonly error: VeripyError };

export interface VerifyAllOptions {
  /** Module names. Default: all that the server reports. */
  mods?: readonly string[];
  /** Called with the outcome of each module as soon as there is one. */
  onOutcome?(outcome: VerifyOutcome): void;
}

/**
 * How many modules are fetched at a time. Enough to fill a link with a long round trip; more would only delay all of them
 * on a slow one.
 */
export const verifiedAtOnce = 32;
/** Maximum attempts to fetch a module. */
const attempts = 3;
/** Errors that may not come again: the link was slow, or the server was busy. */
const temporary: readonly string[] = ["timeout", "busy"];

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
      if (attempt === attempts || !temporary.includes(known.code)) return { mod, error: known };
    }
  }
}
