// What a module declares of itself as literals. These types are written out for authors of modules, so this file imports
// nothing.

/** Limits that a module sets for itself; where the server has one too, the tighter of both holds. */
export interface ModuleLimits {
  execMs?: number;
  maxCallsInFlight?: number;
  maxCallsQueued?: number;
  maxResultBytes?: number;
  maxPartBytes?: number;
  maxModuleMemoryBytes?: number;
  maxLogLinesPerSecond?: number;
  /** Earlier versions that stay callable by their tree. 0 ends all of them. */
  retain?: number;
  /** Keeps the module's process from the start, however many others wait. */
  resident?: boolean;
}

/** What a module declares that it touches: `export const permissions`. A list that is left out is empty. */
export type Permissions = {
  /** Absolute paths; each means the file, or everything below the folder. */
  readonly read?: readonly string[];
  readonly write?: readonly string[];
  /** Programs: absolute paths, or names that are looked up in PATH when the module is loaded. */
  readonly run?: readonly string[];
  /** TCP ports of other machines and of this one. */
  readonly connect?: readonly number[];
  readonly listen?: readonly number[];
};

/** `"all"`: the module runs without a sandbox. */
export type DeclaredPermissions = Permissions | "all";
