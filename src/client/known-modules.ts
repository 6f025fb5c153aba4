import type { JudgedVersion } from "../approvals/approval.ts";
import { VeripyError } from "../base/errors.ts";
import { type ModuleReport, maxReports } from "../protocol/messages.ts";
import type { ServerNews } from "./connection.ts";
import { ExecTarget } from "./exec.ts";
import { sameReport } from "./report-difference.ts";
import { type Verdict, VerificationError, type VerifiedModule } from "./verifier.ts";

/** A verdict, and the report that the module was compared with. */
interface KnownVerdict {
  readonly report: ModuleReport;
  readonly verdict: Verdict;
  /** Undefined for a module that must not, or can't, be called. */
  readonly target: ExecTarget | undefined;
}

/** What a client knows about its server's modules: what the server reported, and what the client verified. */
export class KnownModules {
  #reports = new Map<string, ModuleReport>();
  /** Modules whose latest report came in a broadcast. */
  readonly #broadcast = new Set<string>();
  readonly #verdicts = new Map<string, KnownVerdict>();

  /** The latest reports by module name. Broadcasts change this map; a sync replaces it with another. */
  get reports(): ReadonlyMap<string, ModuleReport> {
    return this.#reports;
  }

  /** Takes over the list of a sync. */
  replace(reports: readonly ModuleReport[]): void {
    this.#reports = new Map(reports.map((report) => [report.mod, report]));
    this.#broadcast.clear();
    for (const mod of this.#verdicts.keys()) if (!this.#reports.has(mod)) this.#verdicts.delete(mod);
  }

  /** Takes over what a broadcast says. Throws `too_large` beyond `maxReports` modules. */
  update(news: ServerNews): void {
    if (news.kind === "modload" || news.kind === "modreload") {
      if (this.#reports.size >= maxReports && !this.#reports.has(news.mod)) {
        throw new VeripyError("too_large", `it reports more than ${maxReports} modules.`);
      }
      this.#reports.set(news.mod, news.report);
      this.#broadcast.add(news.mod);
    } else if (news.kind === "modunload") {
      this.#reports.delete(news.mod);
      this.#broadcast.delete(news.mod);
      this.#verdicts.delete(news.mod);
    }
  }

  /** Whether the latest report came in a broadcast and not in a sync. */
  isBroadcast(name: string): boolean {
    return this.#broadcast.has(name);
  }

  /** Keeps a verdict on a module as `report` described it. */
  judged(report: ModuleReport, verdict: Verdict): void {
    const target = verdict.verified && verdict.isCallable ? targetOf(verdict) : undefined;
    this.#verdicts.set(report.mod, { report, verdict, target });
  }

  /** Judges every verified module anew, because what modules are held to has changed, and forgets those that are now rejected. */
  judgeAgain(judge: (verdict: Verdict) => Verdict): void {
    for (const [mod, { report, verdict }] of this.#verdicts) {
      const next = verdict.verified ? judge(verdict) : verdict;
      if (next.verified) this.judged(report, next);
      else this.#verdicts.delete(mod);
    }
  }

  forgetVerdicts(): void {
    this.#verdicts.clear();
  }

  /** The verdict on the version that is reported now. */
  current(name: string): KnownVerdict | undefined {
    const known = this.#verdicts.get(name);
    return known !== undefined && sameReport(known.report, this.#reports.get(name)) ? known : undefined;
  }

  /** The latest verdict, even if the server has reported another version since. */
  latest(name: string): KnownVerdict | undefined {
    return this.#verdicts.get(name);
  }

  /** The full name of a module: `hello` stands for `hello.ts`, or for `hello.js` if there is no `hello.ts`. */
  nameOf(mod: string): string {
    if (this.#reports.has(mod)) return mod;
    return [`${mod}.ts`, `${mod}.js`].find((name) => this.#reports.has(name)) ?? mod;
  }
}

/** Throws for a module that is not what the server said, and for a server that runs no modules. */
export function targetOf(verdict: Verdict): ExecTarget {
  if (!verdict.verified) throw new VerificationError(verdict);
  if (verdict.isCallable) return new ExecTarget(verdict.mod, verdict.tree, verdict.sum, verdict.signed);
  throw new VeripyError(
    "unsupported",
    "This server speaks only the plain form of the protocol: it lists and verifies modules, but does not run them.",
  );
}

/** A verified module as an approval is compared with it. */
export function versionOf({
  mod,
  tree,
  sum,
  description,
  permissions,
  input,
}: VerifiedModule): JudgedVersion {
  return { mod, tree, sum, description, permissions, input };
}

/** A report as an approval is compared with it. */
export function versionOfReport({ mod, tree, sum, desc, permissions, input }: ModuleReport): JudgedVersion {
  return { mod, tree, sum, description: desc ?? undefined, permissions, input };
}
