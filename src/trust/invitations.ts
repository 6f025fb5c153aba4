import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { isSystemError, VeripyError } from "../base/errors.ts";
import { withFileLock } from "../base/file-lock.ts";
import { refuseWorldWritable } from "../base/file-modes.ts";
import { isThere, readTextIfThere, writeFileAtomic } from "../base/files.ts";
import { plainWords } from "../base/plain-issue.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { isSha256Hex, type Sha256Hex } from "../base/sha256.ts";
import { parseStrictJson } from "../base/strict-json.ts";
import { listed, refuseTakenName } from "./find-entry.ts";
import { nameField, type TrustedKeyFields } from "./grant.ts";
import {
  createCode,
  formatCode,
  isInvitationId,
  isProof,
  type ProofBinding,
  parseCode,
  proofOf,
  verifierOf,
} from "./invitation-code.ts";
import { checkFields, keyFieldsSchema } from "./key-fields.ts";
import { readTrustedKeys } from "./trust-file.ts";

const fileName = "invitations.json";
const maxFileBytes = 1024 * 1024;
const maxOpen = 100;
/** Wrong proofs before an invitation dies. */
export const maxAttempts = 5;

const invitation = z.strictObject({
  id: z.string().refine(isInvitationId, "must be an invitation's id"),
  verifier: z.custom<Sha256Hex>(
    (value) => typeof value === "string" && isSha256Hex(value),
    "must be a SHA-256",
  ),
  name: nameField.optional(),
  /** The other fields of the entry that the joined key gets. */
  entry: keyFieldsSchema.optional(),
  expires: z.iso.datetime({ offset: true }),
  attempts: z.int().min(0).max(maxAttempts),
});
type Invitation = z.infer<typeof invitation>;
const invitationsFile = z.array(invitation).max(maxOpen);

/** An invitation that can still be redeemed, without what would help to redeem it. */
export interface OpenInvitation {
  readonly id: string;
  readonly expires: Date;
  /** Wrong proofs so far. */
  readonly attempts: number;
  /** The entry that the joined key gets, beside its key. */
  readonly fields: TrustedKeyFields;
}

export interface InviteOptions {
  /** How long the code is good. */
  validMs: number;
  /** The entry that the joined key gets, beside its key. */
  fields?: TrustedKeyFields;
  /** `fields.name`. */
  name?: string;
  trustedKeysPath?: string;
}

/**
 * Makes an invitation and keeps what checking it needs in `<certsDir>/invitations.json`. Throws `bad_config` for fields
 * that the trust file may not have, or a name that a key in it has already, if `trustedKeysPath` says which file that is.
 */
export async function createInvitation(
  certsDir: string,
  { validMs, fields = {}, name = fields.name, trustedKeysPath }: InviteOptions,
): Promise<{ code: string; id: string; expires: Date }> {
  const { name: _, ...entry } = fields;
  checkFields(entry);
  if (name !== undefined) await refuseName(name, trustedKeysPath);
  const code = createCode();
  const expires = new Date(Date.now() + validMs);
  await edit(certsDir, (open) => {
    if (open.length >= maxOpen) {
      throw new VeripyError(
        "bad_config",
        `There are ${maxOpen} open invitations already. Wait until some have expired, or end one: ` +
          "veripy-server invite --revoke ID",
      );
    }
    // Of two with one id only one could ever be redeemed.
    const others = open.filter(({ id }) => id !== code.id);
    const made: Invitation = {
      id: code.id,
      verifier: verifierOf(code),
      expires: expires.toISOString(),
      attempts: 0,
      ...(name === undefined ? {} : { name }),
      ...(Object.keys(entry).length === 0 ? {} : { entry }),
    };
    return [...others, made];
  });
  return { code: formatCode(code), id: code.id, expires };
}

async function refuseName(name: string, trustedKeysPath: string | undefined): Promise<void> {
  const parsed = nameField.safeParse(name, plainWords);
  if (!parsed.success) {
    throw new VeripyError(
      "bad_config",
      `Cannot invite under that name: it ${parsed.error.issues[0]?.message}.`,
    );
  }
  if (trustedKeysPath === undefined || !(await isThere(trustedKeysPath))) return;
  refuseTakenName(await readTrustedKeys(trustedKeysPath), name, "Cannot invite under the name");
}

/** The invitations that can be redeemed now, in the order in which they were made. Empty when there is no file. */
export async function listInvitations(certsDir: string): Promise<OpenInvitation[]> {
  const path = join(certsDir, fileName);
  try {
    return stillOpen(await readInvitations(path)).map(toOpen);
  } catch (error) {
    if (error instanceof VeripyError) throw error;
    throw new VeripyError("bad_identity", `Cannot read ${path}: ${reasonOf(error)}.`, { cause: error });
  }
}

/**
 * Ends the open invitations with that id or name; the whole code stands for its id. Gives those that have ended. Throws
 * `bad_config` when there is none, with those that there are.
 */
export async function revokeInvitations(certsDir: string, idOrName: string): Promise<OpenInvitation[]> {
  let revoked: Invitation[] = [];
  const id = idOfCode(idOrName) ?? idOrName.toUpperCase();
  await edit(certsDir, (open) => {
    revoked = open.filter((one) => one.id === id || one.name === idOrName);
    if (revoked.length > 0) return open.filter((one) => !revoked.includes(one));
    const there = open.map((one) => (one.name === undefined ? one.id : `${one.id} ('${one.name}')`));
    throw new VeripyError(
      "bad_config",
      `Cannot revoke the invitation '${idOrName}': no open one has that id or name. ` +
        (there.length === 0 ? "None is open." : `Open are: ${listed(there)}.`),
    );
  });
  return revoked.map(toOpen);
}

function idOfCode(text: string): string | undefined {
  try {
    return parseCode(text).id;
  } catch {
    return undefined;
  }
}

function toOpen({ id, expires, attempts, name, entry }: Invitation): OpenInvitation {
  return {
    id,
    expires: new Date(expires),
    attempts,
    fields: { ...(name === undefined ? {} : { name }), ...entry },
  };
}

/** What became of an attempt to redeem: `wrong` covers unknown, expired and spent ones too, and does not tell. */
export type Redemption =
  | {
      readonly accepted: true;
      /** The entry that the key gets, beside the key. */
      readonly fields: TrustedKeyFields;
      readonly proof: string;
      /** Opens the invitation again, for a key that could not be trusted after all. */
      reopen(): Promise<void>;
    }
  | { readonly accepted: false };

/**
 * Checks a client's proof and spends the invitation. A wrong proof counts, and the fifth ends the invitation.
 * When this resolves, the file says so already: a code cannot be spent twice, not even across a crash.
 *
 * `isNeeded` is asked when the proof is right, with the fields of the entry to make. The invitation stays open when it
 * says no, and when it throws, which this then throws too.
 */
export async function redeemInvitation(
  certsDir: string,
  id: string,
  proof: string,
  binding: ProofBinding,
  isNeeded: (fields: TrustedKeyFields) => Promise<boolean> = async () => true,
): Promise<Redemption> {
  let result: Redemption = { accepted: false };
  await edit(certsDir, async (open) => {
    const found = open.find((one) => one.id === id);
    if (found === undefined) return open;
    const others = open.filter((one) => one !== found);
    if (isProof(proof, "client", found.verifier, binding)) {
      const { fields } = toOpen(found);
      const isSpent = await isNeeded(fields);
      result = {
        accepted: true,
        fields,
        proof: proofOf("server", found.verifier, binding),
        reopen: () => edit(certsDir, (now) => [...now.filter((one) => one.id !== id), found]),
      };
      return isSpent ? others : open;
    }
    const attempts = found.attempts + 1;
    return attempts >= maxAttempts ? others : [...others, { ...found, attempts }];
  });
  return result;
}

/**
 * Whether any invitation is open now. Synchronous, because the answer is needed inside a TLS handshake callback;
 * a file that cannot be read is none.
 */
export function hasOpenInvitation(certsDir: string): boolean {
  try {
    return stillOpen(parseInvitations(readFileSync(join(certsDir, fileName), "utf8"))).length > 0;
  } catch {
    return false;
  }
}

async function readInvitations(path: string): Promise<Invitation[]> {
  const text = await readTextIfThere(path, maxFileBytes);
  return text === undefined ? [] : parseInvitations(text);
}

function parseInvitations(text: string): Invitation[] {
  const parsed = invitationsFile.safeParse(parseStrictJson(text, fileName).value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new VeripyError("bad_config", `${fileName}: [${issue?.path.join(".")}]: ${issue?.message}.`);
}

function stillOpen(invitations: readonly Invitation[], now = Date.now()): Invitation[] {
  return invitations.filter(({ expires }) => Date.parse(expires) > now);
}

async function edit(
  certsDir: string,
  change: (open: Invitation[]) => Invitation[] | Promise<Invitation[]>,
): Promise<void> {
  const path = join(certsDir, fileName);
  try {
    await withFileLock(path, async () => {
      // The server checks it when it starts; this is for what has happened since.
      await refuseWorldWritable(path);
      const before = await readInvitations(path);
      const after = await change(stillOpen(before));
      if (after.length === before.length && after.every((one, index) => one === before[index])) return;
      await writeFileAtomic(path, `${JSON.stringify(after, null, 2)}\n`, 0o600);
    });
  } catch (error) {
    if (error instanceof VeripyError) throw error;
    const hint = isSystemError(error, "ENOENT") ? " 'veripy-server init' makes the folder." : "";
    throw new VeripyError("bad_identity", `Cannot edit ${path}: ${reasonOf(error)}.${hint}`, {
      cause: error,
    });
  }
}
