import type { Limits } from "../../base/limits.ts";
import type { ModuleSource } from "../../source/module-source.ts";
import type { LoadPayload } from "../protocol.ts";
import { hostTitle } from "./command.ts";
import { worstEscape } from "./payloads.ts";

/** Calls are held back while more than this waits for a host that does not read. */
export const congestedBytes = 1024 * 1024;

/** What a host is told so that it loads `source`. */
export function loadPayload(source: ModuleSource, limits: Readonly<Limits>): LoadPayload {
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
    killGraceMs,
  };
}

/** A host that never reads must be able to hold a whole module tree, and calls up to the congestion mark. */
export function maxQueuedBytes(limits: Readonly<Limits>): number {
  return worstEscape * (limits.maxTreeBytes + limits.maxLineBytes) + 4 * congestedBytes;
}
