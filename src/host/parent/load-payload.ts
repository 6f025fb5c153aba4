import type { Limits } from "../../base/limits.ts";
import type { ModuleSource } from "../../source/module-source.ts";
import type { LoadPayload } from "../protocol.ts";
import { hostTitle } from "./command.ts";
import { worstEscape } from "./payloads.ts";

/** No more calls are sent to a host while more than this waits to be read by it. */
export const congestedBytes = 1024 * 1024;

/** Tells a host to load `source`. `isSandboxed`: its process is held to the module's permissions. */
export function loadPayload(
  source: ModuleSource,
  limits: Readonly<Limits>,
  isSandboxed: boolean,
): LoadPayload {
  const files: Record<string, string> = {};
  for (const { path, content } of [source.entry, ...source.files]) files[path] = content;
  const { maxResultBytes, maxPartBytes, maxLogLinesPerSecond, killGraceMs } = limits;
  return {
    mod: source.mod,
    tree: source.tree,
    title: hostTitle(source),
    root: source.root,
    files,
    imports: source.imports,
    specifiers: source.specifiers,
    limits: { maxResultBytes, maxPartBytes, maxLogLinesPerSecond },
    ...(isSandboxed ? permissionsOf(source) : {}),
    killGraceMs,
  };
}

function permissionsOf({ manifest }: ModuleSource): Pick<LoadPayload, "permissions"> {
  if (manifest instanceof Error || manifest.permissions === "all") return {};
  return { permissions: manifest.permissions };
}

/** For a host that never reads: room for a whole module tree, and for calls up to `congestedBytes`. */
export function maxQueuedBytes(limits: Readonly<Limits>): number {
  return worstEscape * (limits.maxTreeBytes + limits.maxLineBytes) + 4 * congestedBytes;
}
