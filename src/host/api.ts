/**
 * What a module exports and is passed. A module imports these as types (`import type`), so nothing of VeriPy is loaded
 * at run time:
 *
 *     import type { ModuleContext } from "veripy";
 */

import type { DeclaredPermissions, ModuleLimits } from "../manifest/declared.ts";

export type { DeclaredPermissions, ModuleLimits, Permissions } from "../manifest/declared.ts";

/** The second argument of `execute`. It may be destructured, as in `{ signal, progress, log }`. */
export interface ModuleContext {
  /** Aborted when the call is cancelled, its deadline passes, its client leaves or the server drains. */
  readonly signal: AbortSignal;
  /** Who calls: the SHA-256 of the client's public key, and its name in `trusted-keys.json`. */
  readonly client: { readonly fingerprint: string; readonly name?: string };
  /** The reference that the client gave this call. */
  readonly ref: string;
  /** This module's file name. */
  readonly mod: string;
  /** The digest of this module and everything it imports. */
  readonly tree: string;
  /** Writes to the server's log, tagged with the module and the call. */
  readonly log: ModuleLog;
  /** Reports progress to the client: a fraction from 0 to 1, or undefined if it is unknown. */
  readonly progress: (fraction: number | undefined, message?: string) => void;
}

export interface ModuleLog {
  readonly debug: (message: string) => void;
  readonly info: (message: string) => void;
  readonly warn: (message: string) => void;
  readonly error: (message: string) => void;
}

/**
 * A module's `execute`: the answer as a string, a promise of it, or an async generator whose strings go to the
 * client as they are yielded. If it throws, the client gets `exec_failed` with the message.
 */
export type Execute = (
  args: string,
  context: ModuleContext,
) => string | Promise<string> | AsyncGenerator<string, unknown, void>;

/** Everything that a module file may export. */
export interface ModuleExports {
  description?: string;
  execute: Execute;
  /** A JSON Schema for `args` read as JSON. Arguments that don't fit are refused before `execute` sees them. */
  input?: Record<string, unknown>;
  limits?: ModuleLimits;
  /** What the module may touch besides its own temporary folder. Without it: nothing. A literal, like `limits`. */
  permissions?: DeclaredPermissions;
}
