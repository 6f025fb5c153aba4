import { type Command, InvalidArgumentError, Option } from "commander";
import type { Action, TrustedKeyFields } from "../index.ts";
import { duration, parsed } from "./flag-values.ts";

/** The flags that say what an entry of the trust file allows, as commander parses them. */
export interface KeyFlags {
  name?: string;
  modules?: string[];
  actions?: string[];
  from?: string[];
  maxConnections?: number;
}

/** Adds those flags, with `flag` for the time from which the key is no longer trusted. */
export function addKeyFlags(command: Command, flag: "--expires" | "--key-expires"): Command {
  return command
    .option("--name <name>", "a name for logs and commands")
    .addOption(list("--modules <names>", "only these modules: a.ts,b-*.ts"))
    .addOption(list("--actions <actions>", "only these of sync,verify,exec"))
    .addOption(list("--from <ranges>", "only from these addresses: 10.0.0.0/8,2001:db8::1"))
    .addOption(
      new Option(
        `${flag} <when>`,
        "until then: a date such as 2027-01-31, a duration from now such as 30d, or never",
      ).argParser(expiry),
    )
    .addOption(
      new Option("--max-connections <count>", "connections of this key at once").argParser(connectionCount),
    );
}

/** Commas between several, and the flag may be repeated. */
function list(flags: string, text: string): Option {
  return new Option(flags, `${text}; repeatable`).argParser((value: string, before?: string[]) => [
    ...(before ?? []),
    ...value.split(",").map((item) => item.trim()),
  ]);
}

const maxDays = 36_500;
const day = 86_400_000;

/** A date as it was typed, the moment that a duration ends, or `never`. The date is checked by the library. */
function expiry(text: string): string {
  if (text === "never" || /^\d{4}-/.test(text)) return text;
  if (!/[a-z]$/.test(text)) {
    throw new InvalidArgumentError(
      "It must be a date like 2027-01-31, a duration like 12h or 30d, or never.",
    );
  }
  const span = duration.refine((ms) => ms > 0 && ms <= maxDays * day, `It must be at most ${maxDays}d.`);
  return new Date(Date.now() + parsed(span)(text)).toISOString();
}

function connectionCount(text: string): number {
  if (/^[1-9]\d{0,6}$/.test(text) && Number(text) <= 1_000_000) return Number(text);
  throw new InvalidArgumentError("It must be a whole number from 1 to 1000000.");
}

/** What a flag for an entry's end changes in it: null removes the end. */
export function expiryFrom(when: string | undefined): { expires?: string | null } {
  return when === undefined ? {} : { expires: when === "never" ? null : when };
}

/** The fields of an entry that were given. They are checked by the library, with the schema of the file. */
export function fieldsFrom({ name, modules, actions, from, maxConnections }: KeyFlags): TrustedKeyFields {
  return {
    ...(name === undefined ? {} : { name }),
    ...(modules === undefined ? {} : { modules }),
    ...(actions === undefined ? {} : { actions: actions as Action[] }),
    ...(from === undefined ? {} : { from }),
    ...(maxConnections === undefined ? {} : { max_connections: maxConnections }),
  };
}
