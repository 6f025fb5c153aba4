import { sep } from "node:path";
import { messageOf, VeripyError } from "../base/errors.ts";

/**
 * A text without the place of `mods/` on this machine, for a client: `/srv/app/mods/lib/x.ts` becomes `lib/x.ts`. `root`
 * is the real path of `mods/`.
 */
export function withoutRoot(text: string, root: string): string {
  return root === sep ? text : text.replaceAll(root + sep, "").replaceAll(root, "mods");
}

/**
 * The message of what a module has thrown. What the loader says names files by their full path, and is told without
 * that; a message of the module's own is left as it is.
 */
export function thrownText(thrown: unknown, root: string): string {
  const isOfLoader =
    thrown instanceof VeripyError || thrown instanceof ResolveMessage || thrown instanceof BuildMessage;
  return isOfLoader ? withoutRoot(messageOf(thrown), root) : messageOf(thrown);
}
