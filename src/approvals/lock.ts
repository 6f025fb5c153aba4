import { z } from "zod";
import { VeripyError } from "../base/errors.ts";
import { plainWords, strictKeys } from "../base/plain-issue.ts";
import { isSha256Hex, type Sha256Hex } from "../base/sha256.ts";
import { parseStrictJson } from "../base/strict-json.ts";
import { isCatalogueName } from "../catalogue/catalogue.ts";
import { maxDescription } from "../manifest/export-faults.ts";
import { type DeclaredPermissions, permissionLists } from "../manifest/permissions.ts";
import { byPath, treeSum } from "../protocol/tree.ts";

/** The version of the file's form that this program reads and writes. */
export const lockVersion = 1;
const maxNote = 1_000;

const sum = z.custom<Sha256Hex>(
  (value) => typeof value === "string" && isSha256Hex(value),
  "must be 64 lowercase hexadecimal digits",
);
const fingerprint = z
  .string()
  .regex(/^[0-9a-f]{64}$/, "must be a fingerprint: 64 lowercase hexadecimal digits");
const moduleName = z.string().min(1).max(255);
const who = z.string().min(1).max(256);
const note = z.string().min(1).max(maxNote);
const time = z.iso.datetime({ message: "must be a time in UTC, such as 2026-11-24T10:00:00Z" });

function strict<T extends z.ZodRawShape>(shape: T) {
  return z.strictObject(shape, strictKeys(Object.keys(shape)));
}

/** Like `z.record`, which drops the name `__proto__` instead of refusing it. */
function record<K extends z.ZodString, V extends z.ZodType>(names: K, values: V) {
  return z
    .unknown()
    .refine((value) => !Object.hasOwn(Object(value), "__proto__"), "must not have the name __proto__")
    .pipe(z.record(names, values));
}

const permissions: z.ZodType<DeclaredPermissions> = z.union([z.literal("all"), permissionLists]);

const approvedModule = strict({
  tree: sum,
  /** Each file's digest, by its path below `mods/`. */
  files: record(z.string().min(1).max(1024), sum),
  description: z.string().max(maxDescription).exactOptional(),
  /** Left out if the source could not be read, which only a plain server may have. */
  permissions: permissions.exactOptional(),
  input: record(z.string(), z.unknown()).exactOptional(),
  described_by: z.enum(["source", "server"]),
  approved_at: time,
  approved_by: who,
  note: note.exactOptional(),
});
/** An approved version of a module. */
export type ApprovedModule = z.infer<typeof approvedModule>;

const deniedTree = strict({ tree: sum, denied_at: time, denied_by: who, note: note.exactOptional() });
export type DeniedTree = z.infer<typeof deniedTree>;

const lockedServer = strict({
  /** `host:port`, where its modules were last approved or denied. */
  address: z.string().min(1).max(300),
  /** Its approved modules. Once this is there, even empty, no other module of the server may run. */
  modules: record(moduleName, approvedModule).exactOptional(),
  denied: record(moduleName, z.array(deniedTree).min(1).max(1_000)).exactOptional(),
});
/** What was decided about the modules of one server. */
export type LockedServer = z.infer<typeof lockedServer>;

const lockedCatalogue = strict({
  /** Of the catalogue that was accepted last, and the SHA-256 of its text. */
  serial: z.number().int().positive(),
  sum,
  /** As for a server. They are for every server of the catalogue that has no `modules` of its own. */
  modules: record(moduleName, approvedModule).exactOptional(),
  denied: record(moduleName, z.array(deniedTree).min(1).max(1_000)).exactOptional(),
});
/** What was decided about the modules of all servers of a signed catalogue. */
export type LockedCatalogue = z.infer<typeof lockedCatalogue>;

const lockFile = strict({
  version: z.literal(lockVersion),
  /** By the SHA-256 of the server's public key. */
  servers: record(fingerprint, lockedServer),
  /** By the catalogue's name. */
  catalogues: record(
    z.string().refine(isCatalogueName, "must be the name of a catalogue"),
    lockedCatalogue,
  ).exactOptional(),
});
/** The content of `veripy.lock`. */
export type Lock = z.infer<typeof lockFile>;

export const emptyLock: Lock = { version: lockVersion, servers: {} };

/**
 * Parses `veripy.lock`. Throws `bad_config`, with line and column or the JSON path, for unknown keys, another version,
 * and a module whose files do not make up its tree.
 */
export function parseLock(text: string, file: string): Lock {
  const { value } = parseStrictJson(text, file);
  if (typeof value === "object" && value !== null && "version" in value)
    refuseOtherVersion(value.version, file);
  const parsed = lockFile.safeParse(value, plainWords);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const path = (issue?.path ?? []).map((step) => `[${JSON.stringify(step)}]`).join("");
    const message = (issue?.message ?? "not valid").replace(/\.$/, "");
    throw new VeripyError("bad_config", `${file}: ${path === "" ? "" : `${path}: `}${message}.`);
  }
  const { servers, catalogues = {} } = parsed.data;
  for (const [owner, { modules = {} }] of [...Object.entries(servers), ...Object.entries(catalogues)]) {
    for (const [mod, approved] of Object.entries(modules))
      checkTree(mod, approved, `${file}: [${JSON.stringify(owner)}]`);
  }
  return parsed.data;
}

function refuseOtherVersion(version: unknown, file: string): void {
  if (version === lockVersion) return;
  const isNewer = typeof version === "number" && version > lockVersion;
  throw new VeripyError(
    "bad_config",
    `${file}: version ${JSON.stringify(version)} is not supported; this program reads version ${lockVersion}.` +
      (isNewer ? " A newer program wrote it. Upgrade this one." : ""),
  );
}

function checkTree(mod: string, { tree, files }: ApprovedModule, where: string): void {
  const entries = Object.entries(files).map(([path, sum]) => ({ path, sum }));
  const isListed = Object.hasOwn(files, mod);
  if (isListed && treeSum(entries) === tree) return;
  const why = !isListed ? `its files do not include ${mod}` : `its files do not make up the tree ${tree}`;
  throw new VeripyError(
    "bad_config",
    `${where}: ${mod}: ${why}. If the file was changed by hand, restore it.`,
  );
}

/** The text of a lock: JSON in a stable order, so that a change is a small difference. */
export function formatLock({ servers, catalogues = {} }: Lock): string {
  const lock = {
    version: lockVersion,
    servers: sortedBy(servers, (one) => ({ address: one.address, ...decisionsOf(one) })),
    ...(Object.keys(catalogues).length === 0
      ? {}
      : {
          catalogues: sortedBy(catalogues, (one) => ({
            serial: one.serial,
            sum: one.sum,
            ...decisionsOf(one),
          })),
        }),
  };
  return `${JSON.stringify(lock, null, 2)}\n`;
}

function decisionsOf({ modules, denied }: LockedServer | LockedCatalogue) {
  return {
    ...(modules === undefined ? {} : { modules: sortedBy(modules, formattedModule) }),
    ...(denied === undefined || Object.keys(denied).length === 0
      ? {}
      : { denied: sortedBy(denied, (trees) => trees) }),
  };
}

function formattedModule(approved: ApprovedModule): ApprovedModule {
  const { tree, files, description, permissions, input, described_by, approved_at, approved_by, note } =
    approved;
  return {
    tree,
    files: sortedBy(files, (one) => one),
    ...(description === undefined ? {} : { description }),
    ...(permissions === undefined ? {} : { permissions }),
    ...(input === undefined ? {} : { input }),
    described_by,
    approved_at,
    approved_by,
    ...(note === undefined ? {} : { note }),
  };
}

/** `Object.fromEntries` keeps a key `__proto__` as an ordinary one. */
function sortedBy<T, U>(record: Readonly<Record<string, T>>, map: (value: T) => U): Record<string, U> {
  const entries = Object.entries(record).sort(([a], [b]) => byPath({ path: a }, { path: b }));
  return Object.fromEntries(entries.map(([key, value]) => [key, map(value)]));
}
