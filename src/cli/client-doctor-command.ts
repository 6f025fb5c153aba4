import type { Command } from "commander";
import { type ConnectOptions, examineClient, type Finding, faultFinding, findLock } from "../index.ts";
import { type ClientOptions, resolveOptions } from "./client-options.ts";
import { type ClientSettings, readClientSettings } from "./client-settings.ts";
import { startLogs } from "./logs.ts";
import { styled, text } from "./text.ts";
import { exitCodeFor, exitCodes, print, printJson } from "./ui.ts";

/** Adds `veripy-client doctor`. Its exit code is that of the worst error. */
export function addClientDoctorCommand(
  connectingCommand: (name: string, description: string) => Command,
  setExitCode: (code: number) => void,
): void {
  connectingCommand("doctor", "examine this client and its connection; for each fault, say what to type")
    .addHelpText("after", "\nExit code 0: nothing but warnings; else that of the worst error.")
    .action(async (_, self: Command) => {
      const { options, findings } = await settingsOf(self);
      await startLogs(options);
      let worst: number = exitCodes.ok;
      const report = (finding: Finding) => {
        if (options.json) printJson(finding);
        else printFinding(finding);
        if (finding.code !== undefined) worst = Math.max(worst, exitCodeFor({ code: finding.code }));
      };
      findings.forEach(report);
      const { lock, finding } = await lockOf(options);
      if (finding !== undefined) report(finding);
      for await (const one of examineClient({ ...connectOptions(options), ...lock })) report(one);
      setExitCode(worst);
    });
}

/** The options as they are without a settings file, if that can't be read. */
async function settingsOf(command: Command): Promise<{ options: ClientOptions; findings: Finding[] }> {
  const findings: Finding[] = [];
  const readSettings = async (home: string): Promise<ClientSettings> => {
    try {
      const settings = await readClientSettings(home);
      findings.push(settingsFinding(settings));
      return settings;
    } catch (error) {
      findings.push(faultFinding("settings", error));
      return { file: "", common: new Map(), hosts: new Map() };
    }
  };
  const { options } = await resolveOptions(command, undefined, readSettings);
  return { options, findings };
}

function settingsFinding({ file, common, hosts }: ClientSettings): Finding {
  const named = hosts.size === 0 ? "no hosts" : `hosts: ${[...hosts.keys()].join(", ")}`;
  const isEmpty = common.size === 0 && hosts.size === 0;
  return {
    subject: "settings",
    state: "ok",
    message: isEmpty ? `${file} sets nothing` : `${file} (${named})`,
  };
}

/** The lock in use. One that was named and does not exist is a fault. */
async function lockOf({
  home,
  lock: given,
}: ClientOptions): Promise<{ lock: ConnectOptions; finding?: Finding }> {
  try {
    const lock = await findLock({ home, given });
    return { lock: lock === undefined ? {} : { lock } };
  } catch (error) {
    return { lock: {}, finding: faultFinding("lock", error) };
  }
}

function connectOptions({
  home,
  certs,
  host,
  port,
  connectTimeout,
  serverFingerprint,
}: ClientOptions): ConnectOptions {
  return {
    home,
    certsDir: certs,
    host,
    port,
    timeoutMs: connectTimeout,
    ...(serverFingerprint === undefined ? {} : { serverFingerprint }),
  };
}

const colours = { ok: "green", warning: "yellow", error: "red" } as const;

function printFinding({ subject, state, message }: Finding): void {
  print`${styled(colours[state], state.padEnd(7))}  ${subject.padEnd(8)}  ${text`${message}`}`;
}
