import { join } from "node:path";
import { z } from "zod";
import { isFingerprint, type ParsedToml, readToml } from "../index.ts";
import { hostAndPort } from "./addresses.ts";
import { options } from "./options.ts";
import {
  checkSettings,
  type Setting,
  type Settings,
  settingAt,
  settingOptions,
  settingsIn,
  settingsTable,
} from "./settings-file.ts";

/** What the settings file of a home says. */
export interface ClientSettings {
  readonly file: string;
  /** The default server: a name in `hosts`, or an address. */
  readonly defaultHost?: Setting;
  /** For every server that has no setting of its own. */
  readonly common: Settings;
  readonly hosts: ReadonlyMap<string, NamedHost>;
}

/** A server that `-H NAME` stands for. */
export interface NamedHost {
  readonly address: Setting;
  readonly settings: Settings;
}

const commonOptions = settingOptions([
  options.connectTimeout,
  options.timeout,
  options.keepalive,
  options.locked,
  options.signers,
  options.signer,
]);
const hostOptions = { ...commonOptions, fingerprint: options.serverFingerprint };

const name = z.string().regex(/^[^:\s[\]/@]{1,255}$/, "a name must have no spaces and none of : / @ [ ]");

/** Reads `veripy.toml` in a home. A file that does not exist says nothing. Throws `bad_config` with the line of an error. */
export async function readClientSettings(home: string): Promise<ClientSettings> {
  const file = join(home, "veripy.toml");
  const toml = await readToml(file);
  return toml === undefined ? { file, common: new Map(), hosts: new Map() } : parseClientSettings(toml, file);
}

function parseClientSettings(toml: ParsedToml, file: string): ClientSettings {
  const host = settingsTable(hostOptions, file, {
    address: hostAndPort,
    fingerprint: z.string().refine(isFingerprint, "must be 64 hexadecimal digits").optional(),
  });
  const schema = settingsTable(commonOptions, file, {
    host: hostAndPort.optional(),
    hosts: z.record(name, host).optional(),
  });
  const table = checkSettings(toml, schema, file);
  const hosts = Object.entries((table.hosts ?? {}) as Record<string, z.infer<typeof host>>);
  return {
    file,
    ...(table.host === undefined
      ? {}
      : { defaultHost: settingAt(table.host, { toml, file, path: ["host"] }) }),
    common: settingsIn(table, commonOptions, { toml, file, path: [] }),
    hosts: new Map(
      hosts.map(([named, one]) => {
        const path = ["hosts", named];
        const address = settingAt(one.address, { toml, file, path: [...path, "address"] });
        return [named, { address, settings: settingsIn(one, hostOptions, { toml, file, path }) }];
      }),
    ),
  };
}
