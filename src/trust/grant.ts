import { z } from "zod";
import { messageOf } from "../base/errors.ts";
import { type Fingerprint, parseFingerprint } from "../identity/fingerprint.ts";
import { AddressList } from "./address-list.ts";
import { matchesName } from "./name-pattern.ts";

/** What a key may be allowed to do. */
export const actions = ["sync", "verify", "exec"] as const;
export type Action = (typeof actions)[number];

const fingerprintField = z
  .string()
  .transform((text, context) => orIssue(context, () => parseFingerprint(text)));

/** A key's name. Printable, without space at the ends: it goes into log lines and onto command lines as it is. */
export const nameField = z
  .string()
  .max(64, "must have at most 64 characters")
  .regex(
    /^[^\p{C}\p{Z}](?:[^\p{C}\p{Zl}\p{Zp}]*[^\p{C}\p{Z}])?$/u,
    "must be printable characters, without spaces at its ends",
  )
  .refine((name) => !/^(sha256:)?[0-9a-f:]{64,}$/i.test(name), "must not look like a fingerprint");

const dateField = z
  .union([z.iso.date(), z.iso.datetime({ offset: true })], {
    error: "must be a date such as 2027-01-31 (its first moment, UTC) or 2027-01-31T18:00:00Z",
  })
  .transform((text) => Date.parse(text));

const rangesField = z
  .array(z.string())
  .max(1_000, "must have at most 1000 ranges")
  .transform((ranges, context) => orIssue(context, () => new AddressList(ranges)));

const moduleField = z.string().min(1, "must not be empty").max(255, "must have at most 255 characters");

const maxConnectionsText = "must be a whole number from 1 to 1000000";

/** The optional fields of an entry of `trusted-keys.json`, as the file has them. */
export interface TrustedKeyFields {
  name?: string;
  modules?: readonly string[];
  actions?: readonly Action[];
  from?: readonly string[];
  /** A date such as `2027-01-31` (its first moment, UTC) or `2027-01-31T18:00:00Z`. */
  expires?: string;
  max_connections?: number;
}

/** One entry of `trusted-keys.json` in its long form. */
export const entrySchema = z.strictObject({
  fingerprint: fingerprintField,
  name: nameField.optional(),
  modules: z.array(moduleField).max(1_000, "must have at most 1000 names").optional(),
  actions: z.array(z.enum(actions, "must be 'sync', 'verify' or 'exec'")).optional(),
  from: rangesField.optional(),
  expires: dateField.optional(),
  max_connections: z
    .int(maxConnectionsText)
    .min(1, maxConnectionsText)
    .max(1_000_000, maxConnectionsText)
    .optional(),
  next: fingerprintField.optional(),
});

/** What one trusted key may do. A field that its entry leaves out is not limited by it. */
export class Grant {
  readonly fingerprint: Fingerprint;
  /** The key that its holder changes to: as good as `fingerprint` until its first connection, then in its place. */
  readonly next: Fingerprint | undefined;
  /** Who it is, for people. */
  readonly name: string | undefined;
  /** Milliseconds since 1970. From this moment on the key is not trusted. */
  readonly expiresAt: number | undefined;
  /** Connections at once. */
  readonly maxConnections: number | undefined;
  /** Patterns over the names of modules. */
  readonly modules: readonly string[] | undefined;
  readonly actions: readonly Action[] | undefined;
  readonly #from: AddressList | undefined;

  constructor(entry: z.infer<typeof entrySchema>) {
    this.fingerprint = entry.fingerprint;
    this.next = entry.next;
    this.name = entry.name;
    this.expiresAt = entry.expires;
    this.maxConnections = entry.max_connections;
    this.modules = entry.modules;
    this.actions = entry.actions;
    this.#from = entry.from;
  }

  /** The addresses that it may come from, as the file has them. */
  get from(): readonly string[] | undefined {
    return this.#from?.ranges;
  }

  /** Its entry, but for the next key. A date is given as a moment, in full. */
  fields(): TrustedKeyFields & { readonly fingerprint: Fingerprint } {
    const { fingerprint, name, modules, actions, from, expiresAt, maxConnections } = this;
    return {
      fingerprint,
      ...(name === undefined ? {} : { name }),
      ...(modules === undefined ? {} : { modules }),
      ...(actions === undefined ? {} : { actions }),
      ...(from === undefined ? {} : { from }),
      ...(expiresAt === undefined ? {} : { expires: new Date(expiresAt).toISOString() }),
      ...(maxConnections === undefined ? {} : { max_connections: maxConnections }),
    };
  }

  mayAct(action: Action): boolean {
    return this.actions === undefined || this.actions.includes(action);
  }

  /** Whether this key may know of the module at all, by its name (`deploy.ts`). */
  maySee(mod: string): boolean {
    return this.modules === undefined || this.modules.some((pattern) => matchesName(pattern, mod));
  }

  mayComeFrom(address: string): boolean {
    return this.#from === undefined || this.#from.has(address);
  }

  isExpired(now = Date.now()): boolean {
    return this.expiresAt !== undefined && this.expiresAt <= now;
  }
}

/** Turns a throw of a parser into an issue at its place in the file. */
function orIssue<T>(context: z.RefinementCtx, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    context.addIssue({ code: "custom", message: messageOf(error) });
    return z.NEVER;
  }
}
