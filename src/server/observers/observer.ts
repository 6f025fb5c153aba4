import type { WireCode } from "../../base/errors.ts";
import type { Fingerprint } from "../../identity/fingerprint.ts";
import type { ModuleChange } from "../../modules/module-slot.ts";
import type { SandboxStatus } from "../../protocol/messages.ts";
import type { RefusalReason } from "../../tls/refusal.ts";

/** The client at the other end of a session. */
export interface PeerLabel {
  readonly fingerprint: string;
  /** Its name in `trusted-keys.json`; undefined when it has none. */
  readonly name: string | undefined;
  /** `ip:port` of the connection. */
  readonly address: string;
}

/** The same, valid while the session lasts. */
export interface ClientLabel extends PeerLabel {
  /** Whether it may run at least one of the current modules. */
  readonly mayRun: boolean;
}

/** One answered request. Built only for observers with `admit` or `answered`. */
export interface RequestRecord {
  readonly peer: ClientLabel;
  readonly action: "sync" | "verify" | "exec" | "stats";
  readonly ref: string;
  readonly mod?: string;
  readonly tree?: string;
  readonly code: "ok" | WireCode;
  readonly durationMs: number;
  /** The arguments of an exec, as the client sent them. */
  readonly args?: string;
  /** The result of a successful exec, as a JSON string literal. */
  readonly resultJson?: string;
  /** How many parts an exec streamed. They are not in `resultJson`. */
  readonly parts?: number;
}

/** An exec that is about to start. */
export type CallRecord = Pick<RequestRecord, "peer" | "ref" | "mod" | "tree" | "args">;

/** A connection that was refused. `wrong_code`: its invitation code was wrong, spent or expired. */
export interface RefusedConnection {
  readonly reason: RefusalReason | "wrong_code";
  /** `ip:port`. */
  readonly address: string;
  /** The key that the client proved to hold, if it got that far. */
  readonly fingerprint?: Fingerprint;
}

/** The trust file was read again: how many keys it has, or why it was not taken. */
export type TrustChange = { readonly keys: number } | { readonly error: string };

/** A catalogue is in use from now on, or why a new one is not, or why the one in use would no longer be accepted. */
export type CatalogueChange =
  | {
      readonly name: string;
      readonly serial: number;
      readonly issued: string;
      /** The SHA-256 of its text. */
      readonly sum: string;
      /** Who signed it; undefined when the signature was not checked. */
      readonly principal?: string;
    }
  | { readonly error: string };

/** A change of the trust file that a client made itself: by an invitation, or by rotating its key. */
export type TrustEdit =
  | { readonly kind: "joined" | "key_confirmed"; readonly peer: PeerLabel }
  | { readonly kind: "key_announced"; readonly peer: PeerLabel; readonly next: string };

export interface ServerStart {
  readonly sandbox: SandboxStatus;
}

/**
 * Is told of everything that happens at the server. The log, the audit log, the metrics and the events of a
 * `VeripyServer` are observers; an embedding program can add its own. Called in the hot path, so it must be quick.
 */
export interface ServerObserver {
  /** Called once, before modules are loaded. */
  starting?(start: ServerStart): void;
  connected?(peer: ClientLabel): void;
  /** `isFault` is false when the client closed the connection in order, or the server stopped. */
  disconnected?(peer: ClientLabel, reason: string, isFault: boolean): void;
  refused?(refusal: RefusedConnection): void;
  /** A client asked for something it has no permission for, such as `exec deploy.ts`. */
  forbidden?(peer: PeerLabel, request: string): void;
  /** Before an exec starts. A returned sentence refuses it with `busy`, and so does an error; undefined lets it run. */
  admit?(call: CallRecord): string | undefined;
  /** Before the answer leaves. */
  answered?(record: RequestRecord): void;
  moduleChanged?(change: ModuleChange): void;
  trustEdited?(edit: TrustEdit): void;
  trustChanged?(change: TrustChange): void;
  catalogueChanged?(change: CatalogueChange): void;
}
