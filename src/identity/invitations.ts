import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { isSystemError, messageOf, VeripyError } from "../base/errors.ts";
import { readTextIfThere, writeFileAtomic } from "../base/files.ts";
import { isSha256Hex, type Sha256Hex } from "../base/sha256.ts";
import { withFileLock } from "./file-lock.ts";
import {
  createCode,
  formatCode,
  isInvitationId,
  isProof,
  type ProofBinding,
  proofOf,
  verifierOf,
} from "./invitation-code.ts";
import { parseStrictJson } from "./strict-json.ts";

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
  name: z.string().max(64).optional(),
  expires: z.iso.datetime({ offset: true }),
  attempts: z.int().min(0).max(maxAttempts),
});
type Invitation = z.infer<typeof invitation>;
const invitationsFile = z.array(invitation).max(maxOpen);

/** Makes an invitation and keeps what checking it needs in `<certsDir>/invitations.json`. */
export async function createInvitation(
  certsDir: string,
  options: { name?: string; validMs: number },
): Promise<{ code: string; expires: Date }> {
  const code = createCode();
  const expires = new Date(Date.now() + options.validMs);
  await edit(certsDir, (open) => {
    if (open.length >= maxOpen) {
      throw new VeripyError(
        "bad_config",
        `There are ${maxOpen} open invitations already; wait until some have expired.`,
      );
    }
    // Of two with one id only one could ever be redeemed.
    const others = open.filter(({ id }) => id !== code.id);
    const { name } = options;
    const made = { id: code.id, verifier: verifierOf(code), expires: expires.toISOString(), attempts: 0 };
    return [...others, name === undefined ? made : { ...made, name }];
  });
  return { code: formatCode(code), expires };
}

/** What became of an attempt to redeem: `wrong` covers unknown, expired and spent ones too, and does not tell. */
export type Redemption =
  | { readonly accepted: true; readonly name: string | undefined; readonly proof: string }
  | { readonly accepted: false };

/**
 * Checks a client's proof and spends the invitation. A wrong proof counts, and the fifth ends the invitation.
 * When this resolves, the file says so already: a code cannot be spent twice, also not across a crash.
 */
export async function redeemInvitation(
  certsDir: string,
  id: string,
  proof: string,
  binding: ProofBinding,
): Promise<Redemption> {
  let result: Redemption = { accepted: false };
  await edit(certsDir, (open) => {
    const found = open.find((one) => one.id === id);
    if (found === undefined) return open;
    const others = open.filter((one) => one !== found);
    if (isProof(proof, "client", found.verifier, binding)) {
      result = { accepted: true, name: found.name, proof: proofOf("server", found.verifier, binding) };
      return others;
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

function parseInvitations(text: string): Invitation[] {
  const parsed = invitationsFile.safeParse(parseStrictJson(text, fileName).value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new VeripyError("bad_config", `${fileName}: [${issue?.path.join(".")}]: ${issue?.message}.`);
}

function stillOpen(invitations: readonly Invitation[], now = Date.now()): Invitation[] {
  return invitations.filter(({ expires }) => Date.parse(expires) > now);
}

async function edit(certsDir: string, change: (open: Invitation[]) => Invitation[]): Promise<void> {
  const path = join(certsDir, fileName);
  try {
    await withFileLock(path, async () => {
      const text = await readTextIfThere(path, maxFileBytes);
      const before = text === undefined ? [] : parseInvitations(text);
      const after = change(stillOpen(before));
      if (after.length === before.length && after.every((one, index) => one === before[index])) return;
      await writeFileAtomic(path, `${JSON.stringify(after, null, 2)}\n`, 0o600);
    });
  } catch (error) {
    if (error instanceof VeripyError) throw error;
    const hint = isSystemError(error, "ENOENT") ? " 'veripy-server init' makes the folder." : "";
    throw new VeripyError("bad_identity", `Cannot edit ${path}: ${messageOf(error)}.${hint}`, {
      cause: error,
    });
  }
}
