import type { WireCode } from "../../base/errors.ts";
import type { ModuleChange } from "../../modules/module-slot.ts";

/** Who is at the other end of a session. */
export interface PeerLabel {
  readonly fingerprint: string;
  /** Its name in `trusted-keys.json`. */
  readonly name: string | undefined;
  /** `ip:port` of the connection. */
  readonly address: string;
}

/** The same while the session lasts. */
export interface ClientLabel extends PeerLabel {
  /** Whether it may run at least one of the modules that there are now. */
  readonly mayRun: boolean;
}

/** One answered request. Built only when somebody observes. */
export interface RequestRecord {
  readonly peer: ClientLabel;
  readonly action: "sync" | "verify" | "exec" | "stats";
  readonly ref: string;
  readonly mod?: string;
  readonly tree?: string;
  readonly code: "ok" | WireCode;
  readonly durationMs: number;
  /** What the client sent as arguments, of an exec. */
  readonly args?: string;
  /** The result as a JSON string literal, of an exec that succeeded. */
  readonly resultJson?: string;
  /** How many parts an exec has streamed; they are not in `resultJson`. */
  readonly parts?: number;
}

/** An exec that is about to start. */
export type CallRecord = Pick<RequestRecord, "peer" | "ref" | "mod" | "tree" | "args">;

/** A change of trust that a client has brought about itself. */
export type TrustEdit =
  | { readonly kind: "joined" | "key_confirmed"; readonly peer: PeerLabel }
  | { readonly kind: "key_announced"; readonly peer: PeerLabel; readonly next: string };

/**
 * Somebody who is told of everything that happens at the server: the audit log, the metrics. Called in the
 * hot path, so it must be quick, and it must not throw.
 */
export interface ServerObserver {
  connected?(peer: ClientLabel): void;
  disconnected?(peer: ClientLabel, reason: string): void;
  refused?(refusal: { reason: string; address: string; fingerprint?: string }): void;
  /** Before an exec starts. A sentence refuses it with `busy`; undefined lets it through. */
  admit?(call: CallRecord): string | undefined;
  /** Before the answer leaves. */
  answered?(record: RequestRecord): void;
  moduleChanged?(change: ModuleChange): void;
  trustEdited?(edit: TrustEdit): void;
  trustChanged?(change: { readonly keys: number } | { readonly error: string }): void;
}
