import type { Command } from "commander";
import { findLock, pathExists } from "../index.ts";
import { addConnectionFlags, resolveOptions } from "./client-options.ts";
import { options } from "./options.ts";
import { printSettings, type SettingRow, valueText } from "./setting-rows.ts";

/** The settings that are shown by their flags; home, lock and server come before them. */
const shown = [
  options.clientCerts,
  options.locked,
  options.signers,
  options.signer,
  options.serverFingerprint,
  options.connectTimeout,
  options.timeout,
  options.keepalive,
  options.logLevel,
  options.json,
];

/** Adds `veripy-client config`. */
export function addConfigCommand(command: (name: string, description: string) => Command): void {
  addConnectionFlags(command("config", "print every setting, its value, and where it comes from"))
    .addOption(options.timeout)
    .action(async (_, self: Command) => {
      printSettings(await settingRows(self), self.optsWithGlobals<{ json?: boolean }>().json ?? false);
    });
}

async function settingRows(command: Command): Promise<SettingRow[]> {
  const { options: given, hostName, settingsFile, addressOrigin, originOf } = await resolveOptions(command);
  const { home, lock: wanted, host, port } = given;
  const lock = await findLock({ home, given: wanted, mayBeMissing: true });
  const values: Record<string, unknown> = { ...given };
  return [
    {
      setting: "home",
      value: home,
      from: home === "." ? "this folder" : originOf("home"),
      exists: await pathExists(home),
    },
    { setting: "settings", value: settingsFile, from: "home", exists: await pathExists(settingsFile) },
    {
      setting: "lock",
      value: lock,
      from: wanted === undefined ? (lock === "veripy.lock" ? "this folder" : "home") : originOf("lock"),
      ...(lock === undefined ? {} : { exists: await pathExists(lock) }),
    },
    { setting: "host", value: hostName, from: originOf("host") },
    { setting: "address", value: `${host}:${port}`, from: addressOrigin },
    ...shown.map((option) => ({
      setting: option === options.serverFingerprint ? "fingerprint" : option.name().replaceAll("-", "_"),
      value: valueText(option, values[option.attributeName()]),
      from: originOf(option.attributeName()),
    })),
  ];
}
