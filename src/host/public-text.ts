import { sep } from "node:path";
import { messageOf, VeripyError } from "../base/errors.ts";

/**
 * A text for a client, without the path of `mods/` on this machine: `/srv/app/mods/lib/x.ts` becomes `lib/x.ts`. `root`
 * is the real path of `mods/`.
 */
export function withoutRoot(text: string, root: string): string {
  return root === sep ? text : text.replaceAll(root + sep, "").replaceAll(root, "mods");
}

/**
 * The message of what a module has thrown. The loader's messages name files by their full path, which is removed; a
 * message of the module's own stays as it is.
 */
export function thrownText(thrown: unknown, root: string): string {
  const isOfLoader =
    thrown instanceof VeripyError || thrown instanceof ResolveMessage || thrown instanceof BuildMessage;
  return isOfLoader ? withoutRoot(messageOf(thrown), root) : messageOf(thrown);
}
