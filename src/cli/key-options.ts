import { type Command, InvalidArgumentError, Option } from "commander";
import type { Action, TrustedKeyFields } from "../index.ts";
import { duration, parsed } from "./flag-values.ts";

/** The flags for an entry of the trust file, parsed. */
export interface KeyFlags {
  name?: string;
  modules?: string[];
  actions?: string[];
  from?: string[];
  maxConnections?: number;
}

/** Adds those flags. `flag` is the one for the time at which the trust ends. */
export function addKeyFlags(command: Command, flag: "--expires" | "--key-expires"): Command {
  return command
    .option("--name <name>", "name for logs and commands")
    .addOption(list("--modules <names>", "only these modules: a.ts,b-*.ts"))
    .addOption(list("--actions <actions>", "only these actions: sync,verify,exec"))
    .addOption(list("--from <ranges>", "only from these addresses: 10.0.0.0/8,2001:db8::1"))
    .addOption(
      new Option(
        `${flag} <when>`,
        "end of the trust: a date such as 2027-01-31, a duration from now such as 30d, or never",
      ).argParser(expiry),
    )
    .addOption(
      new Option("--max-connections <count>", "how many connections the key may have at once").argParser(
        connectionCount,
      ),
    );
}

/** A flag that takes several values, separated by commas or by repeating the flag. */
function list(flags: string, text: string): Option {
  return new Option(flags, `${text}; repeatable`).argParser((value: string, before?: string[]) => [
    ...(before ?? []),
    ...value.split(",").map((item) => item.trim()),
  ]);
}

const maxDays = 36_500;
const day = 86_400_000;

/** A date as typed, the time at which a duration ends, or `never`. The library checks the date. */
function expiry(text: string): string {
  if (text === "never" || /^\d{4}-/.test(text)) return text;
  if (!/^\d[\d.]*(ms|s|m|h|d)$/.test(text)) {
    throw new InvalidArgumentError(
      "It must be a date like 2027-01-31, a duration like 12h or 30d, or never.",
    );
  }
  const span = duration.refine(
    (ms) => ms > 0 && ms <= maxDays * day,
    `It must be more than 0 and at most ${maxDays}d.`,
  );
  return new Date(Date.now() + parsed(span)(text)).toISOString();
}

function connectionCount(text: string): number {
  if (/^[1-9]\d{0,6}$/.test(text) && Number(text) <= 1_000_000) return Number(text);
  throw new InvalidArgumentError("It must be a whole number from 1 to 1000000.");
}

/** What the flag for the end of the trust changes in an entry: null removes the end. */
export function expiryFrom(when: string | undefined): { expires?: string | null } {
  return when === undefined ? {} : { expires: when === "never" ? null : when };
}

/** The given fields of an entry. The library checks them with the schema of the trust file. */
export function fieldsFrom({ name, modules, actions, from, maxConnections }: KeyFlags): TrustedKeyFields {
  return {
    ...(name === undefined ? {} : { name }),
    ...(modules === undefined ? {} : { modules }),
    ...(actions === undefined ? {} : { actions: actions as Action[] }),
    ...(from === undefined ? {} : { from }),
    ...(maxConnections === undefined ? {} : { max_connections: maxConnections }),
  };
}
