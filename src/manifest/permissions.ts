import { posix } from "node:path";
import { z } from "zod";
import { strictKeys } from "../base/plain-issue.ts";
import type { DeclaredPermissions, Permissions } from "./declared.ts";

export type { DeclaredPermissions, Permissions };

/** The kinds of permission, in the order in which they are shown. */
export const permissionKinds = ["read", "write", "run", "connect", "listen"] as const;

const maxEntries = 256;
const maxPathLength = 4096;

const absolutePath = z
  .string()
  .min(1)
  .max(maxPathLength)
  .refine((path) => !path.includes("\0"), "must not contain a NUL character")
  .refine((path) => posix.isAbsolute(path) || /^[A-Za-z]:[\\/]/.test(path), "must be an absolute path")
  .refine((path) => !path.split(/[\\/]/).includes(".."), "must not contain '..'");
const program = z
  .string()
  .min(1)
  .max(maxPathLength)
  .refine((name) => !name.includes("\0"), "must not contain a NUL character")
  .refine(
    (name) => posix.isAbsolute(name) || /^[A-Za-z]:[\\/]/.test(name) || !/[\\/]/.test(name),
    "must be an absolute path, or a name to be looked up in PATH",
  )
  .refine((name) => name !== "." && !name.split(/[\\/]/).includes(".."), "must not contain '..'");
const port = z.number().int().min(1).max(65_535);

/** The shape of `permissions` when it is an object. */
export const permissionLists: z.ZodType<Permissions> = z.strictObject(
  {
    read: z.array(absolutePath).max(maxEntries).exactOptional(),
    write: z.array(absolutePath).max(maxEntries).exactOptional(),
    run: z.array(program).max(maxEntries).exactOptional(),
    connect: z.array(port).max(maxEntries).exactOptional(),
    listen: z.array(port).max(maxEntries).exactOptional(),
  },
  strictKeys(permissionKinds),
);

/** The shape of `permissions` in a report. */
export const declaredPermissions: z.ZodType<DeclaredPermissions> = z.union([
  z.literal("all"),
  permissionLists,
]);

/** Sorted, without duplicates and empty lists, so that equal permissions are equal as JSON. */
export function normalPermissions(declared: DeclaredPermissions): DeclaredPermissions {
  if (declared === "all") return declared;
  const entries = permissionKinds.flatMap((kind): [string, unknown][] => {
    const list: readonly (string | number)[] = declared[kind] ?? [];
    const unique = [...new Set(list)].sort((a, b) =>
      typeof a === "number" && typeof b === "number" ? a - b : a < b ? -1 : 1,
    );
    return unique.length === 0 ? [] : [[kind, unique]];
  });
  return Object.fromEntries(entries) as Permissions;
}
