import { VeripyError } from "../base/errors.ts";
import type { VerifyResponse } from "../protocol/messages.ts";
import type { KnownModules } from "./known-modules.ts";
import { sameReport } from "./report-difference.ts";
import { type Verdict, verifyModule } from "./verifier.ts";

/** The requests that a verification makes. */
export interface VerificationRequests {
  /** Fetches a module's source. */
  fetch(name: string): Promise<VerifyResponse>;
  /** Replaces all reports with the server's current ones. */
  sync(): Promise<void>;
  /** Holds a verdict to what else must be true of a module. */
  sealed(verdict: Verdict): Verdict;
}

/** A module that keeps changing is fetched at most this often. */
export const maxFetches = 10;

/**
 * Fetches a module, verifies it against its latest report, and keeps the verdict in `modules`. The module may change
 * between report and fetch, so a mismatch stands only if a newer report doesn't explain it.
 */
export async function verifyLatest(
  name: string,
  modules: KnownModules,
  requests: VerificationRequests,
): Promise<Verdict> {
  const verdict = await verifyWhileChanging(name, modules, requests);
  // A broadcast precedes the version that it announces, so a sync could not bring a newer report.
  if (verdict.verified || modules.isBroadcast(name)) return verdict;
  const before = modules.reports.get(name);
  await requests.sync();
  if (sameReport(before, modules.reports.get(name))) return verdict;
  return verifyWhileChanging(name, modules, requests);
}

/** Fetches again when the report changed meanwhile: a broadcast right behind the answer may announce the next version. */
async function verifyWhileChanging(
  name: string,
  modules: KnownModules,
  requests: VerificationRequests,
): Promise<Verdict> {
  for (let fetches = 1; ; fetches++) {
    const before = modules.reports.get(name);
    const verdict = await fetchAndVerify(name, modules, requests);
    const stands = verdict.verified || sameReport(before, modules.reports.get(name));
    if (stands || fetches === maxFetches) return verdict;
  }
}

async function fetchAndVerify(
  name: string,
  modules: KnownModules,
  { fetch, sealed }: VerificationRequests,
): Promise<Verdict> {
  const answer = await fetch(name);
  // Read after the answer: a broadcast that overtook it announces the version in the answer.
  const report = modules.reports.get(name);
  if (report === undefined) {
    throw new VeripyError("not_found", `The server does not report a module '${name}'.`);
  }
  const verdict = sealed(verifyModule(report, answer));
  modules.judged(report, verdict);
  return verdict;
}
