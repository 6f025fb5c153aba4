import type { Limits } from "../base/limits.ts";
import type { SpareProcesses } from "../host/parent/spare-processes.ts";
import { listVersion, loadVersion } from "../modules/hosted-version.ts";
import { type Admission, ModuleRegistry } from "../modules/registry.ts";
import { ResidentProcesses } from "../modules/resident-processes.ts";
import type { ModuleSource } from "../source/module-source.ts";
import { encodeListed, encodeLoaded } from "./encoded-version.ts";
import type { ServeOptions } from "./serve-options.ts";

/** The modules of a server: what clients are told of each version is encoded before it can be found. */
export function createRegistry(
  { modsDir, eager = false }: Pick<ServeOptions, "eager"> & { modsDir: string },
  limits: Readonly<Limits>,
  spares: SpareProcesses,
  admit: (source: ModuleSource) => Admission,
): ModuleRegistry {
  const versions = { limits, spares, residents: new ResidentProcesses(limits.resident) };
  return new ModuleRegistry({
    modsDir,
    limits,
    admit,
    load: async (source) => encodeLoaded(await loadVersion(source, versions)),
    ...(eager ? {} : { list: (source) => encodeListed(listVersion(source, versions)) }),
  });
}
