import type { Limits } from "../base/limits.ts";
import type { HostOptions } from "../modules/host.ts";
import type { AuditOptions } from "./audit.ts";
import type { ServerObserver } from "./observer.ts";

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
  /** Serves `/metrics`, `/healthz` and `/readyz` over plain HTTP; belongs on a loopback address. */
  metrics?: { readonly hostname: string; readonly port: number };
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
  observers: [],
} satisfies ServeOptions;

export type CompleteServeOptions = ServeOptions &
  Required<Pick<ServeOptions, keyof typeof defaultServeOptions>>;
