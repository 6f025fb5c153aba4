import { join } from "node:path";
import { z } from "zod";
import { isFingerprint, type ParsedToml, readToml } from "../index.ts";
import { hostAndPort } from "./addresses.ts";
import { options } from "./options.ts";
import {
  checkSettings,
  placeOf,
  type Setting,
  type Settings,
  settingOptions,
  settingsIn,
  settingsTable,
} from "./settings-file.ts";

/** What the settings file of a home says. */
export interface ClientSettings {
  readonly file: string;
  /** For every server that has no setting of its own. With `host`, the one that is used when none is named. */
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
const topOptions = { host: options.host, ...commonOptions };
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
  const schema = settingsTable(topOptions, file, { hosts: z.record(name, host).optional() });
  const table = checkSettings(toml, schema, file);
  const hosts = Object.entries((table.hosts ?? {}) as Record<string, z.infer<typeof host>>);
  return {
    file,
    common: settingsIn(table, topOptions, { toml, file, path: [] }),
    hosts: new Map(
      hosts.map(([named, one]) => {
        const path = ["hosts", named];
        const place = placeOf(file, toml.lineOf([...path, "address"]));
        const settings = settingsIn(one, hostOptions, { toml, file, path });
        return [named, { address: { value: one.address, place }, settings }];
      }),
    ),
  };
}
