import { VeripyError } from "../base/errors.ts";
import { didYouMean } from "../base/similar.ts";
import { type Fingerprint, isFingerprint, parseFingerprint } from "../identity/fingerprint.ts";
import type { Grant } from "./grant.ts";
import type { TrustedKeys } from "./trust-file.ts";

const maxListed = 10;

/** The entry that a name, a key or the next key of an entry stands for. */
export function findEntry(keys: Iterable<Grant>, who: string): Grant | undefined {
  const key = isFingerprint(who) ? parseFingerprint(who) : undefined;
  return [...keys].find(({ name, fingerprint, next }) =>
    key === undefined ? name === who : fingerprint === key || next === key,
  );
}

/** What to say of a name or a key that stands for no entry. `what`: "Cannot …", without the name. */
export function unknownEntry(keys: Iterable<Grant>, who: string, what: string, file: string): VeripyError {
  const grants = [...keys];
  const names = grants.map(({ name, fingerprint }) => name ?? fingerprint);
  const suggestion = didYouMean(
    who,
    grants.flatMap(({ name, fingerprint }) => (name === undefined ? [fingerprint] : [name, fingerprint])),
  );
  const hint = names.length === 0 ? "It trusts no key." : suggestion || `It has: ${listed(names)}.`;
  return new VeripyError("bad_config", `${what} '${who}': no entry of ${file} has that name or key. ${hint}`);
}

/** Throws `bad_config` when a key other than `fingerprint` has the name. `what`: "Cannot …", without the name. */
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
    `${what} '${name}': the key ${holder.fingerprint} has it already. Take another name, or ` +
      `remove that key first: veripy-server untrust ${holder.fingerprint}`,
  );
}

/** The first few of a list, and how many more there are. */
export function listed(items: readonly string[]): string {
  const shown = items.slice(0, maxListed).join(", ");
  return items.length <= maxListed ? shown : `${shown} and ${items.length - maxListed} more`;
}
