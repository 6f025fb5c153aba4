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

/** A key's name. Printable and without leading or trailing spaces, because it appears in logs and on command lines. */
export const nameField = z
  .string()
  .max(64, "must have at most 64 characters")
  .regex(
    /^[^\p{C}\p{Z}](?:[^\p{C}\p{Zl}\p{Zp}]*[^\p{C}\p{Z}])?$/u,
    "must consist of printable characters, without leading or trailing spaces",
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

/** The optional fields of an entry in `trusted-keys.json`, as written in the file. */
export interface TrustedKeyFields {
  name?: string;
  modules?: readonly string[];
  actions?: readonly Action[];
  from?: readonly string[];
  /** A date such as `2027-01-31` (its first moment, UTC) or `2027-01-31T18:00:00Z`. */
  expires?: string;
  max_connections?: number;
}

/** An entry of `trusted-keys.json` in its long form. */
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

/** What a trusted key may do. A field missing from its entry sets no limit. */
export class Grant {
  readonly fingerprint: Fingerprint;
  /** The next key in a rotation. It is trusted like `fingerprint`, and replaces it with its first connection. */
  readonly next: Fingerprint | undefined;
  /** The holder's name, for people. */
  readonly name: string | undefined;
  /** Milliseconds since 1970. From then on the key is not trusted. */
  readonly expiresAt: number | undefined;
  /** Simultaneous connections. */
  readonly maxConnections: number | undefined;
  /** Patterns of module names. See `matchesName`. */
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

  /** The addresses that it may connect from, as written in the file. */
  get from(): readonly string[] | undefined {
    return this.#from?.ranges;
  }

  /** Its entry, without the next key. A date includes the time. */
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

  /** Whether this key may see that the module (`deploy.ts`) exists. */
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

/** Turns a parser's error into an issue with a path. */
function orIssue<T>(context: z.RefinementCtx, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    context.addIssue({ code: "custom", message: messageOf(error) });
    return z.NEVER;
  }
}
