import type { Command, Option } from "commander";
import { limitDefault } from "./limit-flags.ts";
import { readServerSettings } from "./server-settings.ts";
import { printSettings, type SettingRow, valueText } from "./setting-rows.ts";
import type { Settings } from "./settings-file.ts";

/** Adds `veripy-server config`, which has the flags of `start`. */
export function addConfigCommand(
  program: Command,
  start: Command,
  addStartFlags: (command: Command) => Command,
): void {
  addStartFlags(program.command("config"))
    .description("print every setting of 'start', its value, and where it comes from")
    .action(async (given: { config?: string; json?: boolean }, self: Command) => {
      const { file, keys, settings } = await readServerSettings(start, given.config);
      const rows: SettingRow[] = [
        { setting: "config", value: file, from: given.config === undefined ? "default" : "--config" },
        ...Object.entries(keys).map(([setting, option]) => ({
          setting,
          ...valueAndOrigin(self, option, settings),
        })),
      ];
      printSettings(rows, given.json ?? false);
    });
}

function valueAndOrigin(
  command: Command,
  option: Option,
  settings: Settings,
): Pick<SettingRow, "value" | "from"> {
  const name = option.attributeName();
  const value = command.opts()[name] ?? limitDefault(option);
  const from = originOf(command.getOptionValueSource(name), option, settings.get(name)?.place);
  return { value: valueText(option, value), from };
}

function originOf(source: string | undefined, option: Option, place = ""): string {
  if (source === "cli") return option.long ?? "";
  if (source === "env") return option.envVar ?? `VERIPY_${option.attributeName().toUpperCase()}`;
  return source === "config" ? place : "default";
}
