import type { Approval } from "../approvals/approval.ts";
import type { VeripyError } from "../base/errors.ts";
import type { CatalogueSignature } from "../catalogue/signed-catalogue.ts";
import type { ModuleReport } from "../protocol/messages.ts";
import type { ModuleDifference } from "./report-difference.ts";
import type { Verdict } from "./verifier.ts";

/** What led to a verdict. */
export type VerdictCause = "sync" | "modload" | "modreload" | "catalogue" | "reconnected";

export type WatchEvent =
  | { readonly event: "verdict"; readonly cause: VerdictCause; readonly verdict: Verdict }
  /** A module could not be fetched, so there is no verdict yet. */
  | {
      readonly event: "unverified";
      readonly cause: VerdictCause;
      readonly mod: string;
      readonly error: VeripyError;
      /** It is fetched again after this time, unless the connection breaks or the module changes first. */
      readonly retryMs: number;
    }
  | { readonly event: "modload" | "modreload"; readonly report: ModuleReport }
  | { readonly event: "modunload"; readonly mod: string }
  | { readonly event: "moderror"; readonly mod: string; readonly error: string }
  /** A module has become pending: it, or what was decided about it, has changed. */
  | { readonly event: "pending"; readonly mod: string; readonly approval: Approval }
  /** The server has another catalogue, which holds from now on. */
  | { readonly event: "catalogue"; readonly signature: CatalogueSignature }
  /** It has another catalogue, which was refused: the earlier one still holds. */
  | { readonly event: "catalogue"; readonly error: VeripyError }
  | { readonly event: "drain" }
  /** The server is rotating its key: this one is now also accepted. */
  | { readonly event: "rotate"; readonly fingerprint: string }
  /** The server's next key was not proven, or could not be saved. */
  | { readonly event: "rotate_refused"; readonly error: string }
  | { readonly event: "disconnected"; readonly reason: VeripyError; readonly retryMs: number | undefined }
  | ({ readonly event: "reconnected" } & ModuleDifference);
