import type { VeripyClient } from "./client.ts";
import type { ServerNews } from "./connection.ts";
import { differenceOf } from "./report-difference.ts";
import { Verifications } from "./verifications.ts";
import type { VerdictCause, WatchEvent } from "./watch-event.ts";

/**
 * Verifies every module and keeps watching: reports every broadcast, verifies modules that are loaded or reloaded, and after
 * a reconnect those without a current verdict. Resolves when every module has been verified once; the events go on until the
 * client is closed. Without `verify`, nothing is verified, and it resolves at once.
 */
export async function watchModules(
  client: VeripyClient,
  onEvent: (event: WatchEvent) => void,
  { verify: verifies = true }: { verify?: boolean } = {},
): Promise<void> {
  const verifications = new Verifications(client, onEvent);
  const verify: Verify = async (mod, cause) => {
    if (verifies) await verifications.add(mod, cause);
  };

  client.on("news", (news) => {
    // Whether a new catalogue is accepted is an event of its own.
    if (news.kind === "catalogue") return;
    if (news.kind === "resync") void resync(client, onEvent, verify);
    else tell(news, onEvent, verify);
  });
  client.on("pending", ({ mod, approval }) => onEvent({ event: "pending", mod, approval }));
  client.on("catalogue", (news) => {
    onEvent({ event: "catalogue", ...news });
    if ("error" in news) return;
    for (const mod of client.reports.keys()) {
      if (client.verdictOf(mod) === undefined) void verify(mod, "catalogue");
    }
  });
  client.on("disconnected", ({ reason, retryMs }) => onEvent({ event: "disconnected", reason, retryMs }));
  client.on("reconnected", (difference) => {
    onEvent({ event: "reconnected", ...difference });
    // Not only the changed ones: the break may have interrupted a verification.
    for (const mod of client.reports.keys()) {
      if (client.verdictOf(mod) === undefined) void verify(mod, "reconnected");
    }
  });

  await Promise.all([...client.reports.keys()].map((mod) => verify(mod, "sync")));
}

type Verify = (mod: string, cause: VerdictCause) => Promise<void>;

function tell(
  news: Exclude<ServerNews, { kind: "resync" | "catalogue" }>,
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

/** Some broadcasts were missed: finds out by a sync what has changed. */
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
