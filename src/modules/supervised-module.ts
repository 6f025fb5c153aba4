import type { Limits } from "../base/limits.ts";
import type { SpareProcesses } from "../host/parent/spare-processes.ts";
import type { Manifest } from "../manifest/manifest.ts";
import type { ModuleSource } from "../source/module-source.ts";
import type { ResidentProcesses } from "./resident-processes.ts";

/** What a supervisor starts, and with what. */
export interface SupervisedModule {
  readonly source: ModuleSource;
  readonly manifest: Manifest;
  /** Those of the server and of the module. */
  readonly limits: Readonly<Limits>;
  readonly spares: SpareProcesses;
  readonly residents: ResidentProcesses;
  /** Its process is never ended for being idle, and started again when it ends. */
  readonly isResident: boolean;
}
