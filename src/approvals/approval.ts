import { isDeepStrictEqual } from "node:util";
import type { ReportedPermissions } from "../protocol/messages.ts";
import type { ApprovedModule, LockedServer } from "./lock.ts";

/**
 * `approved`: exactly this version was. `pending`: other versions or modules of this server were. `denied`: exactly this
 * version was. `not approved`: nothing was decided about it, and nothing of its server is approved.
 */
export type ApprovalState = "approved" | "pending" | "denied" | "not approved";

/**
 * What keeps a module pending: it is `new`, its `code`, `permissions`, `description` or argument `schema` differ from what
 * was approved, or the `key` of its server is another one, which no rotation has proven.
 */
export type ApprovalChange = "new" | "code" | "permissions" | "description" | "schema" | "key";

/** What was decided about a version of a module. */
export interface Approval {
  readonly state: ApprovalState;
  /** Empty unless pending. */
  readonly changed: readonly ApprovalChange[];
}

/** What an approval is compared with: a verified module, or a report that is not verified yet. */
export interface JudgedVersion {
  readonly mod: string;
  /** Undefined in the report of a plain server. */
  readonly tree: string | undefined;
  /** Of the module's own file. */
  readonly sum: string;
  readonly description: string | undefined;
  readonly permissions: ReportedPermissions | undefined;
  readonly input: Record<string, unknown> | undefined;
}

/** The decisions that hold for a server. */
export interface Decisions {
  /** Of the lock in use; undefined when it has no entry for the server. */
  readonly entry: LockedServer | undefined;
  /** The entry is for the server's address, but for another key, and no rotation has proven this one. */
  readonly isOtherKey: boolean;
  /** Only what is approved may run, although there is no entry. */
  readonly locked: boolean;
  /** The trees of the module that were denied, in the lock in use and in the one of the home. */
  isDenied(mod: string, tree: string): boolean;
}

/** Whether only approved modules of the server may run. */
export function isGoverned({ entry, isOtherKey, locked }: Decisions): boolean {
  return locked || isOtherKey || entry?.modules !== undefined;
}

/** What was decided about a version. Pure. */
export function approvalOf(version: JudgedVersion, decisions: Decisions): Approval {
  if (version.tree !== undefined && decisions.isDenied(version.mod, version.tree))
    return { state: "denied", changed: [] };
  if (!isGoverned(decisions)) return { state: "not approved", changed: [] };
  if (decisions.isOtherKey) return { state: "pending", changed: ["key"] };
  const approved = approvedModule(decisions, version.mod);
  if (approved === undefined) return { state: "pending", changed: ["new"] };
  const changed = changesOf(approved, version);
  return changed.length === 0 ? { state: "approved", changed } : { state: "pending", changed };
}

/** The approved version of a module; undefined when there is none, or when it is unclear whether the entry is this server's. */
export function approvedModule({ entry, isOtherKey }: Decisions, mod: string): ApprovedModule | undefined {
  const modules = entry?.modules;
  return !isOtherKey && modules !== undefined && Object.hasOwn(modules, mod) ? modules[mod] : undefined;
}

/** How a version differs from the approved one. Pure. */
export function changesOf(approved: ApprovedModule, version: JudgedVersion): ApprovalChange[] {
  const { tree, sum, description = "", permissions, input, mod } = version;
  const isSameCode = tree === undefined ? approved.files[mod] === sum : approved.tree === tree;
  const changes: [ApprovalChange, boolean][] = [
    ["code", !isSameCode],
    // A plain server reports none of these, and a report that leaves them out is compared when it is verified.
    [
      "permissions",
      permissions !== undefined && !isDeepStrictEqual(plain(permissions), plain(approved.permissions)),
    ],
    ["description", description !== (approved.description ?? "")],
    ["schema", !isDeepStrictEqual(plain(input), plain(approved.input))],
  ];
  return changes.flatMap(([change, isChanged]) => (isChanged ? [change] : []));
}

/** Without prototypes and undefined fields, which are the same in JSON. */
function plain(value: unknown): unknown {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value));
}
