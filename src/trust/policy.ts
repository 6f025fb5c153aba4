import { VeripyError } from "../base/errors.ts";
import { isFingerprint, parseFingerprint } from "../identity/fingerprint.ts";
import { type Action, actions, type Grant, type TrustedKeys } from "./trusted-keys.ts";

/** `alice may exec deploy.ts`, `bob may not sync`, `carol may verify db-x.ts from 10.0.0.7`. */
export interface Assertion {
  readonly line: number;
  readonly text: string;
  /** A name in the trust file, or a fingerprint. */
  readonly who: string;
  readonly expected: boolean;
  readonly action: Action;
  readonly mod: string | undefined;
  readonly from: string | undefined;
}

export interface AssertionResult {
  readonly assertion: Assertion;
  readonly holds: boolean;
  /** The reason in a few words, such as `the entry has expired`. */
  readonly because: string;
}

// A name with spaces is in double quotes.
const pattern = /^(?:"([^"]+)"|(\S+)) may( not)? (\S+?)(?: (?!from )(\S+))?(?: from (\S+))?$/;

/**
 * Parses a list of assertions, one per line. `#` begins a comment; empty lines are ignored. Throws `bad_config` with the
 * number of the first invalid line, and for an empty list, which would always pass.
 */
export function parseAssertions(text: string): Assertion[] {
  const assertions = text.split(/\r?\n/).flatMap((line, index) => {
    const content = line
      .replace(/(^|\s)#.*$/, "")
      .trim()
      .replaceAll(/\s+/g, " ");
    return content === "" ? [] : [parseAssertion(content, index + 1)];
  });
  if (assertions.length > 0) return assertions;
  throw new VeripyError("bad_config", "There is no assertion to test. Example: alice may exec deploy.ts");
}

function parseAssertion(text: string, line: number): Assertion {
  const match = pattern.exec(text);
  const [, quoted, word, not, action, mod, from] = match ?? [];
  const who = quoted ?? word;
  if (who === undefined || !actions.some((known) => known === action)) {
    throw new VeripyError(
      "bad_config",
      `Line ${line} is not an assertion: '${text}'. Expected: WHO may [not] ${actions.join("|")} [MODULE] [from ADDRESS]`,
    );
  }
  return { line, text, who, expected: not === undefined, action: action as Action, mod, from };
}

/**
 * Checks each assertion against the trusted keys, as the server would decide at the time `now`. An assertion about a name
 * without an entry always fails: it is probably misspelled, and `… may not …` would always hold.
 */
export function testPolicy(
  keys: TrustedKeys,
  assertions: readonly Assertion[],
  now = Date.now(),
): AssertionResult[] {
  return assertions.map((assertion) => {
    const { who, expected } = assertion;
    const named = [...keys].find(({ name }) => name === who);
    if (named === undefined && !isFingerprint(who)) {
      const because = `'${who}' is neither a name in the trust file nor a fingerprint`;
      return { assertion, holds: false, because };
    }
    const obstacle = obstacleTo(assertion, named ?? keys.lookup(parseFingerprint(who)), now);
    return {
      assertion,
      holds: (obstacle === undefined) === expected,
      because: obstacle ?? "nothing forbids it",
    };
  });
}

function obstacleTo(
  { action, mod, from }: Assertion,
  grant: Grant | undefined,
  now: number,
): string | undefined {
  if (grant === undefined) return "the key is not trusted";
  if (grant.isExpired(now)) return "the entry has expired";
  if (from !== undefined && !grant.mayComeFrom(from)) return `${from} is not among its addresses`;
  if (!grant.mayAct(action)) return `${action} is not among its actions`;
  if (mod !== undefined && !grant.maySee(mod)) return `${mod} is not among its modules`;
  return undefined;
}
