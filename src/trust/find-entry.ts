import { VeripyError } from "../base/errors.ts";
import { didYouMean } from "../base/similar.ts";
import { type Fingerprint, isFingerprint, parseFingerprint } from "../identity/fingerprint.ts";
import type { Grant } from "./grant.ts";
import type { TrustedKeys } from "./trust-file.ts";

const maxListed = 10;

/** The entry with that name, key or next key. */
export function findEntry(keys: Iterable<Grant>, who: string): Grant | undefined {
  const key = isFingerprint(who) ? parseFingerprint(who) : undefined;
  return [...keys].find(({ name, fingerprint, next }) =>
    key === undefined ? name === who : fingerprint === key || next === key,
  );
}

/** The error for a name or key that has no entry. `what` is "Cannot …", without the name. */
export function unknownEntry(keys: Iterable<Grant>, who: string, what: string, file: string): VeripyError {
  const grants = [...keys];
  const names = grants.map(({ name, fingerprint }) => name ?? fingerprint);
  const suggestion = didYouMean(
    who,
    grants.flatMap(({ name, fingerprint }) => (name === undefined ? [fingerprint] : [name, fingerprint])),
  );
  const hint =
    names.length === 0 ? "The file trusts no keys." : suggestion || `It contains: ${listed(names)}.`;
  return new VeripyError(
    "bad_config",
    `${what} '${who}': ${file} has no entry with that name or key. ${hint}`,
  );
}

/** Throws `bad_config` when a key other than `fingerprint` has the name. `what` is "Cannot …", without the name. */
export function refuseTakenName(
  keys: TrustedKeys,
  name: string | undefined,
  what: string,
  fingerprint?: Fingerprint,
): void {
  const holder = name === undefined ? undefined : [...keys].find((grant) => grant.name === name);
  if (holder === undefined || holder.fingerprint === fingerprint) return;
  throw new VeripyError(
    "bad_config",
    `${what} '${name}': the key ${holder.fingerprint} already has it. Choose another name, or ` +
      `remove that key first: veripy-server untrust ${holder.fingerprint}`,
  );
}

/** The first few items of a list, and the number of the others. */
export function listed(items: readonly string[]): string {
  const shown = items.slice(0, maxListed).join(", ");
  return items.length <= maxListed ? shown : `${shown} and ${items.length - maxListed} more`;
}
