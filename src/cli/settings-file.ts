import { dirname, isAbsolute, join } from "node:path";
import { InvalidArgumentError, type Option } from "commander";
import { z } from "zod";
import { didYouMean, messageOf, type ParsedToml, plainWords, VeripyError } from "../index.ts";

/** A value from a settings file, as the flag would have it, and where it stands: `veripy.toml:3`. */
export interface Setting {
  readonly value: unknown;
  readonly place: string;
}

/** Settings by the names of the options that they are for, as commander has them: `connectTimeout`. */
export type Settings = ReadonlyMap<string, Setting>;

/** A file's keys, and the flags that they stand for: the key of `--connect-timeout` is `connect_timeout`. */
export type SettingOptions = Readonly<Record<string, Option>>;

/** Gives each option the key that its flag suggests. */
export function settingOptions(options: readonly Option[]): SettingOptions {
  return Object.fromEntries(options.map((option) => [option.name().replaceAll("-", "_"), option]));
}

/**
 * The schema of a table with these keys, all of them optional, and `others`. A value is what the flag takes, as a string;
 * a number, a boolean or a list of strings where that is what the flag means. Relative paths start at the file's folder.
 */
export function settingsTable(options: SettingOptions, file: string, others: z.ZodRawShape = {}) {
  const own = Object.entries(options).map(([key, option]) => [key, valueSchema(option, file).optional()]);
  const shape = { ...Object.fromEntries(own), ...others };
  const known = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === "unrecognized_keys" ? unknownKey(issue.keys[0] ?? "", known) : undefined,
  });
}

const maxListed = 12;

function unknownKey(key: string, known: readonly string[]): string {
  const list = known.length > maxListed ? "'config' prints all keys." : `The keys are ${known.join(", ")}.`;
  const hint = didYouMean(key, known) || list;
  return `unknown key '${key}'. ${hint}`;
}

const stringOrNumber = z.union([z.string(), z.number()], { error: "must be a string or a number" });

function valueSchema(option: Option, file: string): z.ZodType {
  if (option.isBoolean()) return z.boolean();
  if (option.variadic) return z.array(z.string());
  const isPath = /<(file|folder)>/.test(option.flags);
  const takesNumbers = option.parseArg !== undefined && option.argChoices === undefined && !isPath;
  return (takesNumbers ? stringOrNumber : z.string()).transform((given, context) => {
    try {
      const value = option.parseArg?.(String(given), undefined) ?? given;
      return isPath && !isAbsolute(String(value)) ? join(dirname(file), String(value)) : value;
    } catch (error) {
      if (!(error instanceof InvalidArgumentError)) throw error;
      context.addIssue({ code: "custom", message: messageOf(error) });
      return z.NEVER;
    }
  });
}

/** A flag's message without its subject, which is the key here. */
function clause(message: string): string {
  const text = message.replace(/^It /, "");
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/** Checks a file with a schema. Throws `bad_config`: `veripy.toml: line 3: hosts.prod.timeout: must be a duration…`. */
export function checkSettings<T>(toml: ParsedToml, schema: z.ZodType<T>, file: string): T {
  const checked = schema.safeParse(toml.value, plainWords);
  if (checked.success) return checked.data;
  const [issue] = checked.error.issues;
  const path = issue?.path ?? [];
  // An unknown key is the first of those that the issue names; a missing one has no line, but its table has.
  const place = issue?.code === "unrecognized_keys" ? [...path, issue.keys[0] ?? ""] : path;
  const line = toml.lineOf(place) ?? toml.lineOf(place.slice(0, -1));
  const where = [
    file,
    ...(line === undefined ? [] : [`line ${line}`]),
    ...(path.length ? [path.join(".")] : []),
  ];
  // An invalid key has issues of its own.
  const message = clause(
    (issue?.code === "invalid_key" ? issue.issues[0] : issue)?.message ?? "is not valid",
  );
  throw new VeripyError("bad_config", `${where.join(": ")}: ${message}${/[.?]$/.test(message) ? "" : "."}`);
}

/** Where something is in a settings file. */
interface Place {
  readonly toml: ParsedToml;
  readonly file: string;
  readonly path: readonly string[];
}

/** A value that was checked. */
export function settingAt(value: unknown, { toml, file, path }: Place): Setting {
  return {
    value,
    // Finding the line takes longer than reading the file, and only `config` prints it.
    get place() {
      return `${file}:${toml.lineOf(path)}`;
    },
  };
}

/** The settings in a table that was checked. */
export function settingsIn(
  table: Readonly<Record<string, unknown>>,
  options: SettingOptions,
  place: Place,
): Settings {
  const settings = new Map<string, Setting>();
  for (const [key, option] of Object.entries(options)) {
    const value = table[key];
    if (value === undefined) continue;
    settings.set(option.attributeName(), settingAt(value, { ...place, path: [...place.path, key] }));
  }
  return settings;
}
