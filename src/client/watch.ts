import { messageOf, VeripyError } from "../base/errors.ts";
import type { ModuleReport } from "../protocol/messages.ts";
import type { VeripyClient } from "./client.ts";
import type { ServerNews } from "./connection.ts";
import { differenceOf, type ModuleDifference } from "./difference.ts";
import type { Verdict } from "./verifier.ts";

/** Why a verdict was made. */
export type VerdictCause = "sync" | "modload" | "modreload" | "reconnected";

export type WatchEvent =
  | { readonly event: "verdict"; readonly cause: VerdictCause; readonly verdict: Verdict }
  /** A module could not be fetched, so there is no verdict on it. */
  | {
      readonly event: "unverified";
      readonly cause: VerdictCause;
      readonly mod: string;
      readonly error: VeripyError;
    }
  | { readonly event: "modload" | "modreload"; readonly report: ModuleReport }
  | { readonly event: "modunload"; readonly mod: string }
  | { readonly event: "moderror"; readonly mod: string; readonly error: string }
  | { readonly event: "drain" }
  /** The server changes its key: this one is accepted too from now on. */
  | { readonly event: "rotate"; readonly fingerprint: string }
  /** Somebody said that it does, who could not prove it, or it could not be written down. */
  | { readonly event: "rotate_refused"; readonly error: string }
  | { readonly event: "disconnected"; readonly reason: VeripyError; readonly retryMs: number | undefined }
  | ({ readonly event: "reconnected" } & ModuleDifference);

/**
 * Verifies every module, then stays: tells of every broadcast, verifies what is loaded or reloaded, and after a
 * broken connection what has changed meanwhile. Resolves when the first round of verdicts is complete; the
 * events go on until the client is closed.
 */
export async function watchModules(
  client: VeripyClient,
  onEvent: (event: WatchEvent) => void,
): Promise<void> {
  const verify = async (mod: string, cause: VerdictCause): Promise<void> => {
    try {
      onEvent({ event: "verdict", cause, verdict: await client.verify(mod) });
    } catch (error) {
      // A connection that breaks is told once, as `disconnected`; a module that is gone, as `modunload`.
      if (!client.isConnected || !client.reports.has(mod)) return;
      const reason =
        error instanceof VeripyError ? error : new VeripyError("protocol_error", messageOf(error));
      onEvent({ event: "unverified", cause, mod, error: reason });
    }
  };

  client.on("news", (news) => {
    if (news.kind === "resync") void resync(client, onEvent, verify);
    else tell(news, onEvent, verify);
  });
  client.on("disconnected", ({ reason, retryMs }) => onEvent({ event: "disconnected", reason, retryMs }));
  client.on("reconnected", (difference) => {
    onEvent({ event: "reconnected", ...difference });
    for (const { mod } of [...difference.added, ...difference.changed]) void verify(mod, "reconnected");
  });

  const mods = [...client.reports.keys()];
  await Promise.all(mods.map((mod) => verify(mod, "sync")));
}

type Verify = (mod: string, cause: VerdictCause) => Promise<void>;

function tell(
  news: Exclude<ServerNews, { kind: "resync" }>,
  onEvent: (event: WatchEvent) => void,
  verify: Verify,
): void {
  if (news.kind === "modload" || news.kind === "modreload") {
    onEvent({ event: news.kind, report: news.report });
    void verify(news.mod, news.kind);
  } else if (news.kind === "modunload") onEvent({ event: "modunload", mod: news.mod });
  else if (news.kind === "moderror") onEvent({ event: "moderror", mod: news.mod, error: news.error });
  else if (news.kind === "rotate") onEvent({ event: "rotate", fingerprint: news.fingerprint });
  else if (news.kind === "rotate_refused") onEvent({ event: "rotate_refused", error: news.error });
  else onEvent({ event: "drain" });
}

/** This client was too slow for some broadcasts: find out what they said. */
async function resync(
  client: VeripyClient,
  onEvent: (event: WatchEvent) => void,
  verify: Verify,
): Promise<void> {
  const before = new Map(client.reports);
  await client.sync().catch(() => {});
  const { added, changed, removed } = differenceOf(before, client.reports);
  for (const mod of removed) onEvent({ event: "modunload", mod });
  for (const report of added) tell({ kind: "modload", mod: report.mod, report }, onEvent, verify);
  for (const report of changed) tell({ kind: "modreload", mod: report.mod, report }, onEvent, verify);
}
