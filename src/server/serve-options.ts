import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { VeripyError } from "../base/errors.ts";
import { checkServerFiles } from "../base/file-modes.ts";
import type { Limits } from "../base/limits.ts";
import type { HostOptions } from "../host/parent/module-host.ts";
import type { SandboxMode } from "../host/parent/sandbox-mode.ts";
import { sandboxSupport } from "../host/parent/sandbox-support.ts";
import type { CatalogueRules } from "./catalogue/catalogue-source.ts";
import type { AuditOptions } from "./observers/audit-log.ts";
import type { ServerObserver } from "./observers/observer.ts";
import { sandboxWarnings } from "./sandbox-status.ts";

/** What a server is started with. Everything has a default; see `defaultServeOptions`. */
export interface ServeOptions {
  /** The address to listen on; `localhost` is both 127.0.0.1 and ::1. */
  hostname?: string;
  /** 0 picks a free one, which `VeripyServer.port` then returns. */
  port?: number;
  modsDir?: string;
  /** Holds `server.key` and `server.crt`, which are made when missing. */
  certsDir?: string;
  trustedKeysPath?: string;
  limits?: Partial<Limits>;
  /** The catalogue of what is served. With signers, nothing else is. */
  catalogue?: CatalogueRules;
  /** Loads every module before listening. Otherwise that is done afterwards, in the background. */
  eager?: boolean;
  /** How module hosts are run: user, environment, cgroup. */
  hosts?: Partial<Omit<HostOptions, "sandbox">>;
  /** Whether modules are held to the permissions that they declare. */
  sandbox?: SandboxMode;
  /** Records who did what. */
  audit?: AuditOptions;
  /** Logs each call at level `info`: who, which module, which version, how it ended. Off by default. */
  logCalls?: boolean;
  /** Serves `/metrics`, `/healthz` and `/readyz` over plain HTTP; belongs on a loopback address. */
  metrics?: { readonly hostname: string; readonly port: number };
  /** Opens `control.sock` in `certsDir`, through which commands list connections and disconnect keys. */
  control?: boolean;
  /** The embedding program's own observers. */
  observers?: readonly ServerObserver[];
}

export const defaultServeOptions = {
  hostname: "localhost",
  port: 8443,
  modsDir: "./mods",
  certsDir: "./certs",
  trustedKeysPath: "./trusted-keys.json",
  hosts: {},
  sandbox: "best-effort",
  control: false,
  observers: [],
} satisfies ServeOptions;

export type CompleteServeOptions = ServeOptions &
  Required<Pick<ServeOptions, keyof typeof defaultServeOptions>>;

/**
 * What to warn of at the start. Throws `bad_config` for what can never work: a modules folder that is a file, a cgroup
 * that does not exist, a sandbox that this system can't enforce.
 */
export async function checkOptions(options: CompleteServeOptions): Promise<string[]> {
  return [
    ...(await checkFolders(options)),
    ...(await checkServerFiles(options.certsDir, options.trustedKeysPath)),
    ...sandboxWarnings(options.sandbox, sandboxSupport()),
  ];
}

/** A modules folder that does not exist yet is a warning; it is picked up when it appears. */
async function checkFolders({ modsDir, hosts }: CompleteServeOptions): Promise<string[]> {
  const mods = await kindOf(modsDir);
  if (mods === "file") {
    throw new VeripyError(
      "bad_config",
      `Cannot take the modules from ${modsDir}: it is a file, not a folder.`,
    );
  }
  if (hosts.cgroup !== undefined && (await kindOf(hosts.cgroup)) !== "folder") {
    throw new VeripyError(
      "bad_config",
      `Cannot run modules in the cgroup ${hosts.cgroup}: there is no such folder.`,
    );
  }
  if (mods === "folder") return [];
  return [
    `The folder ${resolve(modsDir)} does not exist, so there are no modules. They will be loaded when it appears.`,
  ];
}

async function kindOf(path: string): Promise<"folder" | "file" | "nothing"> {
  try {
    return (await stat(path)).isDirectory() ? "folder" : "file";
  } catch {
    return "nothing";
  }
}
