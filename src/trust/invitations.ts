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
/** Wrong proofs until an invitation ends. */
export const maxAttempts = 5;

const invitation = z.strictObject({
  id: z.string().refine(isInvitationId, "must be an invitation ID"),
  verifier: z.custom<Sha256Hex>(
    (value) => typeof value === "string" && isSha256Hex(value),
    "must be a SHA-256",
  ),
  name: nameField.optional(),
  /** The other fields of the joining key's entry. */
  entry: keyFieldsSchema.optional(),
  expires: z.iso.datetime({ offset: true }),
  attempts: z.int().min(0).max(maxAttempts),
});
type Invitation = z.infer<typeof invitation>;
const invitationsFile = z.array(invitation).max(maxOpen);

/** An invitation that can still be redeemed, without its secret. */
export interface OpenInvitation {
  readonly id: string;
  readonly expires: Date;
  /** Wrong proofs so far. */
  readonly attempts: number;
  /** The fields of the joining key's entry, without the key. */
  readonly fields: TrustedKeyFields;
}

export interface InviteOptions {
  /** How long the code is valid. */
  validMs: number;
  /** The fields of the joining key's entry, without the key. */
  fields?: TrustedKeyFields;
  /** `fields.name`. */
  name?: string;
  trustedKeysPath?: string;
}

/**
 * Creates an invitation and stores what is needed to check its code in `<certsDir>/invitations.json`. Throws
 * `bad_config` for invalid fields, and for a name that a key already has in the file `trustedKeysPath`, if that is given.
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
        `There are already ${maxOpen} open invitations. Wait until some have expired, or revoke one: ` +
          "veripy-server invite --revoke ID",
      );
    }
    // Of two invitations with the same ID only one could be redeemed.
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

/** The invitations that can still be redeemed, oldest first. Empty when there is no file. */
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
 * Revokes the open invitations with that ID or name, and returns them. The whole code is accepted in place of its ID.
 * Throws `bad_config`, with a list of the open invitations, when there is none.
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
      `Cannot revoke the invitation '${idOrName}': no open invitation has that ID or name. ` +
        (there.length === 0 ? "No invitations are open." : `Open invitations: ${listed(there)}.`),
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

/** The outcome of an attempt to redeem. It does not tell a wrong code from an unknown, expired or spent one. */
export type Redemption =
  | {
      readonly accepted: true;
      /** The fields of the key's entry, without the key. */
      readonly fields: TrustedKeyFields;
      readonly proof: string;
      /** Reopens the invitation when the key could not be trusted after all. */
      reopen(): Promise<void>;
    }
  | { readonly accepted: false };

/**
 * Checks a client's proof and spends the invitation. Wrong proofs are counted, and the fifth ends the invitation. The
 * file is written before this resolves, so a code can't be spent twice, even after a crash.
 *
 * `isNeeded` is called with the fields of the new entry when the proof is right. If it returns false or throws, the
 * invitation stays open; this passes on what it throws.
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
 * Whether any invitation is open. Synchronous, because it is called inside a TLS handshake callback. False when the file
 * can't be read.
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
      // The server checks this at its start, but it may have changed since.
      await refuseWorldWritable(path);
      const before = await readInvitations(path);
      const after = await change(stillOpen(before));
      if (after.length === before.length && after.every((one, index) => one === before[index])) return;
      await writeFileAtomic(path, `${JSON.stringify(after, null, 2)}\n`, 0o600);
    });
  } catch (error) {
    if (error instanceof VeripyError) throw error;
    const hint = isSystemError(error, "ENOENT") ? " 'veripy-server init' creates the directory." : "";
    throw new VeripyError("bad_identity", `Cannot edit ${path}: ${reasonOf(error)}.${hint}`, {
      cause: error,
    });
  }
}
