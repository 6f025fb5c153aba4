import type { LogLevel } from "@logtape/logtape";
import {
  type AuditOptions,
  findSystemUser,
  type HostOptions,
  type SandboxMode,
  type ServeOptions,
  SystemdNotifier,
  serve,
  VeripyError,
  type VeripyServer,
} from "../index.ts";
import { stateDirectory, systemdEnvironment } from "./environment.ts";
import { limitsFrom } from "./limit-flags.ts";
import { configureLogs } from "./logs.ts";
import { styled } from "./text.ts";
import { note, notesAreSeen } from "./ui.ts";

/** The flags of `veripy-server start`, parsed. */
export interface StartOptions extends Record<string, unknown> {
  interface: string;
  port: number;
  mods: string;
  certs: string;
  trustedKeys: string;
  catalogue: string;
  signers?: string;
  signer?: string;
  catalogueName?: string;
  minSerial?: number;
  state?: string;
  logLevel?: LogLevel;
  json?: boolean;
  logCalls?: boolean;
  metrics?: { hostname: string; port: number };
  audit?: string;
  auditRequired?: boolean;
  auditMaxSize?: number;
  auditKeep?: number;
  eager?: boolean;
  moduleUser?: string;
  moduleEnv: string[];
  moduleCgroup?: string;
  sandbox: SandboxMode;
}

/** Serves until a signal stops the server. */
export async function start(given: StartOptions): Promise<void> {
  await configureLogs({ level: given.logLevel ?? "info", json: given.json ?? false });
  const systemd = systemdEnvironment();
  const notifier = SystemdNotifier.to(systemd.socket);
  const server = await serve({
    hostname: given.interface,
    port: given.port,
    modsDir: given.mods,
    certsDir: given.certs,
    trustedKeysPath: given.trustedKeys,
    catalogue: catalogueRules(given),
    control: true,
    eager: given.eager ?? false,
    limits: limitsFrom(given),
    hosts: await hostOptions(given),
    sandbox: given.sandbox,
    logCalls: given.logCalls ?? false,
    ...auditOptions(given),
    ...(given.metrics === undefined ? {} : { metrics: given.metrics }),
  });
  notifier?.ready(`Listening on ${server.addresses.join(", ")}`);
  notifier?.startWatchdog(systemd.watchdogUsec);
  await signalled(server, () => notifier?.stopping());
}

function catalogueRules(given: StartOptions): NonNullable<ServeOptions["catalogue"]> {
  const { catalogue: path, signers: signersPath, signer, catalogueName: name, minSerial } = given;
  const stateDir = given.state ?? stateDirectory();
  const rules = { signer, name, minSerial };
  for (const [flag, value] of Object.entries({
    "--signer": signer,
    "--catalogue-name": name,
    "--min-serial": minSerial,
  })) {
    if (value !== undefined && signersPath === undefined)
      throw new VeripyError("bad_config", `${flag} needs --signers FILE as well.`);
  }
  const known = Object.entries({ signersPath, stateDir, ...rules }).filter(
    ([, value]) => value !== undefined,
  );
  return { path, ...Object.fromEntries(known) };
}

async function hostOptions(given: StartOptions): Promise<Partial<HostOptions>> {
  const hosts: Partial<HostOptions> = { moduleEnv: given.moduleEnv };
  if (given.moduleUser !== undefined) hosts.user = await findSystemUser(given.moduleUser);
  if (given.moduleCgroup !== undefined) hosts.cgroup = given.moduleCgroup;
  return hosts;
}

function auditOptions(given: StartOptions): Pick<ServeOptions, "audit"> {
  if (given.audit === undefined) {
    if (given.auditRequired !== true) return {};
    throw new VeripyError("bad_config", "--audit-required needs --audit FILE as well.");
  }
  const audit: AuditOptions = {
    path: given.audit,
    required: given.auditRequired ?? false,
    ...(given.auditMaxSize === undefined ? {} : { maxBytes: given.auditMaxSize }),
    ...(given.auditKeep === undefined ? {} : { keep: given.auditKeep }),
  };
  return { audit };
}

/** The first SIGINT or SIGTERM lets the server finish its calls; a second one ends the process at once. */
function signalled(server: VeripyServer, onFirst: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    let isStopping = false;
    const stop = (signal: NodeJS.Signals) => {
      if (isStopping) process.exit(signal === "SIGINT" ? 130 : 143);
      isStopping = true;
      onFirst();
      if (notesAreSeen()) note`${styled("gray", "Stopping. Press Ctrl-C again to stop at once.")}`;
      server.stop().then(resolve, reject);
    };
    process.on("SIGINT", stop);
    process.on("SIGTERM", stop);
  });
}
