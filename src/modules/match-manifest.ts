import { VeripyError } from "../base/errors.ts";
import type { HostReady } from "../host/parent/module-host.ts";
import type { Manifest } from "../manifest/manifest.ts";
import { declaredPermissions, normalPermissions } from "../manifest/permissions.ts";

/**
 * Throws `bad_module` when a module that was loaded exports anything else than its source says. Values that the source
 * computes have nothing to be compared with.
 */
export function matchManifest(mod: string, manifest: Manifest, ready: HostReady): void {
  const { description, input, limits, permissions, describedBy } = manifest;
  const exported: [name: string, found: unknown, stated: unknown][] = [
    ["limits", ready.limits ?? {}, limits],
    ["permissions", permissionsOf(ready), permissions],
  ];
  if (describedBy === "source")
    exported.push(["description", ready.desc, description], ["input", ready.input, input]);
  for (const [name, found, stated] of exported) {
    if (Bun.deepEquals(asJson(found), asJson(stated), true)) continue;
    throw new VeripyError(
      "bad_module",
      `${mod} exports other '${name}' than its source says. Export it as a literal, and don't change it while the module loads.`,
    );
  }
}

/** In the normal form; undefined for what are no permissions. */
function permissionsOf({ permissions = {} }: HostReady): unknown {
  const declared = declaredPermissions.safeParse(permissions);
  return declared.success ? normalPermissions(declared.data) : undefined;
}

/** Plain data: the order of keys does not count, and `-0` is 0. */
function asJson(value: unknown): unknown {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value));
}
