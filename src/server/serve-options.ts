import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { VeripyError } from "../base/errors.ts";
import type { Limits } from "../base/limits.ts";
import type { HostOptions } from "../host/parent/module-host.ts";
import type { AuditOptions } from "./observers/audit-log.ts";
import type { ServerObserver } from "./observers/observer.ts";

/** What a server is started with. Everything has a default; see `defaultServeOptions`. */
export interface ServeOptions {
  /** The address to listen on; `localhost` is both 127.0.0.1 and ::1. */
  hostname?: string;
  /** 0 picks a free one; `VeripyServer.port` tells which. */
  port?: number;
  modsDir?: string;
  /** Holds `server.key` and `server.crt`; made when missing. */
  certsDir?: string;
  trustedKeysPath?: string;
  limits?: Partial<Limits>;
  /** How module hosts are run: user, environment, cgroup. */
  hosts?: Partial<HostOptions>;
  /** Writes down who did what. */
  audit?: AuditOptions;
  /** Logs each call at level `info`: who, which module, which version, how it ended. Off by default. */
  logCalls?: boolean;
  /** Serves `/metrics`, `/healthz` and `/readyz` over plain HTTP; belongs on a loopback address. */
  metrics?: { readonly hostname: string; readonly port: number };
  /** Opens `control.sock` in `certsDir`, by which commands ask who is connected, and disconnect keys. */
  control?: boolean;
  /** Told of everything that happens: for an embedding program. */
  observers?: readonly ServerObserver[];
}

export const defaultServeOptions = {
  hostname: "localhost",
  port: 8443,
  modsDir: "./mods",
  certsDir: "./certs",
  trustedKeysPath: "./trusted-keys.json",
  hosts: {},
  control: false,
  observers: [],
} satisfies ServeOptions;

export type CompleteServeOptions = ServeOptions &
  Required<Pick<ServeOptions, keyof typeof defaultServeOptions>>;

/**
 * Throws `bad_config` for a path that can never serve, before anything is started: modules that are a file, a
 * cgroup that is not there. A modules folder that does not exist yet is picked up when it appears; until then it is one
 * of the warnings that are returned.
 */
export async function checkFolders({ modsDir, hosts }: CompleteServeOptions): Promise<string[]> {
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
    `There is no folder ${resolve(modsDir)}, so there are no modules. They are loaded when it appears.`,
  ];
}

async function kindOf(path: string): Promise<"folder" | "file" | "nothing"> {
  try {
    return (await stat(path)).isDirectory() ? "folder" : "file";
  } catch {
    return "nothing";
  }
}
