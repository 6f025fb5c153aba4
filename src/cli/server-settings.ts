import type { Command, Option } from "commander";
import { readToml, VeripyError } from "../index.ts";
import { options } from "./options.ts";
import {
  checkSettings,
  type SettingOptions,
  type Settings,
  settingOptions,
  settingsIn,
  settingsTable,
} from "./settings-file.ts";

const defaultFile = "veripy-server.toml";

/** The settings file of a server: the value of `--config`, or `veripy-server.toml` in the working directory. */
export interface ServerSettings {
  /** Undefined when there is no such file. */
  readonly file: string | undefined;
  /** The keys that it may have, with the flags of `start` that they stand for. */
  readonly keys: SettingOptions;
  readonly settings: Settings;
}

/**
 * Reads the settings file, whose keys are the flags of `start`. Throws `bad_config` with the line of an error, and when a
 * file that was named does not exist.
 */
export async function readServerSettings(start: Command, named: string | undefined): Promise<ServerSettings> {
  const file = named ?? defaultFile;
  const keys = keysOf(start);
  const toml = await readToml(file);
  if (toml === undefined) {
    if (named === undefined) return { file: undefined, keys, settings: new Map() };
    throw new VeripyError("bad_config", `Cannot read ${file}: it does not exist.`);
  }
  const table = checkSettings(toml, settingsTable(keys, file), file);
  return { file, keys, settings: settingsIn(table, keys, { toml, file, path: [] }) };
}

/** Gives `--config` to every command that shares a flag with `start`, and fills in those flags before the command runs. */
export function addSettingsFile(program: Command, start: Command): void {
  for (const command of commandsBelow(program)) {
    if (command.options.some((option) => isFlagOf(start, option))) command.addOption(options.config);
  }
  program.hook("preAction", async (_, action) => {
    if (!action.options.includes(options.config)) return;
    const { settings } = await readServerSettings(start, action.opts<{ config?: string }>().config);
    for (const option of action.options.filter((one) => isFlagOf(start, one))) {
      const name = option.attributeName();
      const setting = settings.get(name);
      if (setting === undefined || ["cli", "env"].includes(action.getOptionValueSource(name) ?? "")) continue;
      action.setOptionValueWithSource(name, setting.value, "config");
    }
  });
}

/** The flags of `start` that can stand in a file, by their keys. */
function keysOf(start: Command): SettingOptions {
  return settingOptions(start.options.filter(({ long }) => long !== "--config" && long !== "--version"));
}

/** Not by the name alone: `--max-connections` of `trust` is about one key. */
function isFlagOf(start: Command, option: Option): boolean {
  return Object.values(keysOf(start)).some(
    ({ flags, description }) => flags === option.flags && description === option.description,
  );
}

function commandsBelow(command: Command): Command[] {
  return command.commands.flatMap((one) => [one, ...commandsBelow(one)]);
}
