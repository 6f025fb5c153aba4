import { messageOf, VeripyError } from "../base/errors.ts";
import { readTextIfThere } from "../base/files.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { keyTypes, parseSshPublicKey, type SshPublicKey } from "./ssh-public-key.ts";

/** One line of an `allowed_signers` file: see ALLOWED SIGNERS in ssh-keygen(1). */
export interface AllowedSigner {
  /** Patterns for names, such as `ops@example` or `*@example`; one that begins with `!` excludes. */
  readonly principals: readonly string[];
  readonly key: SshPublicKey;
  /** Patterns; undefined allows every namespace. */
  readonly namespaces: readonly string[] | undefined;
  readonly validAfterMs: number | undefined;
  readonly validBeforeMs: number | undefined;
  readonly line: number;
}

export const maxSignersBytes = 1024 * 1024;

/**
 * Parses an `allowed_signers` file. Throws `bad_config`, with the line, for a mistake, and for `cert-authority`, because
 * certificates are not supported.
 */
export function parseAllowedSigners(text: string, file: string): AllowedSigner[] {
  const signers: AllowedSigner[] = [];
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.replace(/\r$/, "").trim();
    if (line === "" || line.startsWith("#")) continue;
    try {
      signers.push({ ...parseLine(line), line: index + 1 });
    } catch (error) {
      throw new VeripyError("bad_config", `${file}: line ${index + 1}: ${messageOf(error)}.`, {
        cause: error,
      });
    }
  }
  if (signers.length === 0) throw new VeripyError("bad_config", `${file}: there is no signer in it.`);
  return signers;
}

/** Reads an `allowed_signers` file. Throws `bad_config`, also when there is none: missing is an error, never a skipped check. */
export async function readAllowedSigners(file: string): Promise<AllowedSigner[]> {
  let text: string | undefined;
  try {
    text = await readTextIfThere(file, maxSignersBytes);
  } catch (error) {
    throw new VeripyError("bad_config", `Cannot read the signers in ${file}: ${reasonOf(error)}.`, {
      cause: error,
    });
  }
  if (text !== undefined) return parseAllowedSigners(text, file);
  throw new VeripyError("bad_config", `Cannot read the signers in ${file}: it does not exist.`);
}

/** The signer that may sign with this key, in this namespace and at this time, as this principal if one is named. */
export function findSigner(
  signers: readonly AllowedSigner[],
  key: SshPublicKey,
  { namespace, principal, nowMs }: { namespace: string; principal?: string | undefined; nowMs: number },
): { signer: AllowedSigner; principal: string } | { why: string } {
  const own = signers.filter((signer) => signer.key.blob.equals(key.blob));
  if (own.length === 0) return { why: "its key is none of the allowed signers'" };
  let why = "";
  for (const signer of own) {
    const { principals, namespaces, validAfterMs, validBeforeMs } = signer;
    if (principal !== undefined && !matches(principals, principal)) why = `its key is not ${principal}'s`;
    else if (namespaces !== undefined && !matches(namespaces, namespace))
      why = `its key may not sign in the namespace ${namespace}`;
    else if (validAfterMs !== undefined && nowMs < validAfterMs) why = "its key is not valid yet";
    else if (validBeforeMs !== undefined && nowMs >= validBeforeMs) why = "its key is no longer valid";
    else return { signer, principal: principal ?? principals.find((one) => !one.startsWith("!")) ?? "" };
  }
  return { why };
}

/** As in ssh_config(5), PATTERNS: `*` and `?`, and an exclusion that matches wins. */
function matches(patterns: readonly string[], name: string): boolean {
  const isMatch = (pattern: string) => globMatches(pattern, name);
  if (patterns.some((pattern) => pattern.startsWith("!") && isMatch(pattern.slice(1)))) return false;
  return patterns.some((pattern) => !pattern.startsWith("!") && isMatch(pattern));
}

/** Linear in the lengths multiplied: a pattern of many stars must not take long. */
function globMatches(pattern: string, name: string): boolean {
  let [p, n, star, mark] = [0, 0, -1, 0];
  while (n < name.length) {
    if (p < pattern.length && pattern[p] === "*") [star, mark, p] = [p, n, p + 1];
    else if (p < pattern.length && (pattern[p] === "?" || pattern[p] === name[n])) [p, n] = [p + 1, n + 1];
    else if (star >= 0) [p, mark, n] = [star + 1, mark + 1, mark + 1];
    else return false;
  }
  while (pattern[p] === "*") p += 1;
  return p === pattern.length;
}

function parseLine(line: string): Omit<AllowedSigner, "line"> {
  const words = splitWords(line);
  const [names = "", ...rest] = words;
  const principals = names.split(",");
  if (principals.some((one) => one === "" || one === "!"))
    throw new RangeError("the principals have an empty name");
  const options =
    rest[0] !== undefined && !keyTypes.includes(rest[0]) && !isCertificateType(rest[0])
      ? rest.shift()
      : undefined;
  const [type, base64] = rest;
  if (type === undefined || base64 === undefined)
    throw new RangeError("it must be principals, options if any, a key type and a key in base64");
  if (isCertificateType(type)) throw new RangeError("certificates are not supported; list the key itself");
  if (!keyTypes.includes(type))
    throw new RangeError(`'${type}' is no key type; the types are ${keyTypes.join(", ")}`);
  const blob = Buffer.from(base64, "base64");
  if (blob.toString("base64").replace(/=+$/, "") !== base64.replace(/=+$/, ""))
    throw new RangeError("the key is not base64");
  const key = parseSshPublicKey(blob);
  if (key.type !== type) throw new RangeError(`the key is of the type ${key.type}, not ${type}`);
  return { principals, key, ...parseOptions(options) };
}

function isCertificateType(word: string): boolean {
  return word.endsWith("-cert-v01@openssh.com");
}

/** Words at blanks outside of double quotes. */
function splitWords(line: string): string[] {
  const words = line.match(/(?:"[^"]*"|[^\s"])+/g) ?? [];
  if ((line.match(/"/g)?.length ?? 0) % 2 === 1) throw new RangeError("a double quote is not closed");
  // The principals may be in quotes as a whole.
  return words.map((word, index) => (index === 0 ? word.replace(/^"([^"]*)"$/, "$1") : word));
}

function parseOptions(
  text: string | undefined,
): Pick<AllowedSigner, "namespaces" | "validAfterMs" | "validBeforeMs"> {
  const found: Record<string, string> = {};
  for (const option of text?.match(/(?:"[^"]*"|[^,"])+/g) ?? []) {
    const [, name = "", value] = /^([A-Za-z-]+)(?:="?([^"]*)"?)?$/.exec(option) ?? [];
    const key = name.toLowerCase();
    if (key === "cert-authority")
      throw new RangeError("'cert-authority' is not supported; list the keys themselves");
    if (!["namespaces", "valid-after", "valid-before"].includes(key) || value === undefined || value === "")
      throw new RangeError(
        `'${option}' is no option; the options are namespaces=, valid-after= and valid-before=`,
      );
    if (key in found) throw new RangeError(`the option '${key}' stands there twice`);
    found[key] = value;
  }
  const time = (key: string) => (found[key] === undefined ? undefined : timeOf(found[key]));
  const [validAfterMs, validBeforeMs] = [time("valid-after"), time("valid-before")];
  if (validAfterMs !== undefined && validBeforeMs !== undefined && validAfterMs >= validBeforeMs)
    throw new RangeError("valid-after must be earlier than valid-before");
  return { namespaces: found.namespaces?.split(","), validAfterMs, validBeforeMs };
}

/** YYYYMMDD or YYYYMMDDHHMM[SS], in UTC with a `Z`, and else in local time. */
function timeOf(text: string): number {
  const [, year, month, day, hour = "00", minute = "00", second = "00", zone] =
    /^(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?(Z?)$/.exec(text) ?? [];
  const time =
    year === undefined
      ? Number.NaN
      : Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}${zone}`);
  if (Number.isNaN(time)) throw new RangeError(`'${text}' is no time; write YYYYMMDDZ or YYYYMMDDHHMM[SS]Z`);
  return time;
}
