import type { SourceStore } from "../approvals/source-store.ts";
import { loggerOf } from "../base/log.ts";
import { type ModuleReport, parseAnswer, type VerifyResponse, verifyResponse } from "../protocol/messages.ts";
import type { Approvals } from "./approvals.ts";
import type { KnownModules } from "./known-modules.ts";
import type { ReconnectingConnection } from "./reconnecting-connection.ts";
import type { ServerCatalogue } from "./server-catalogue.ts";
import type { Verdict } from "./verifier.ts";
import { verifyLatest } from "./verify-latest.ts";

const log = loggerOf("client");

/** Where a client gets the sources that it verifies: from its store, or else from the server. */
export class ModuleSources {
  readonly #connection: ReconnectingConnection;
  readonly #modules: KnownModules;
  readonly #approvals: Approvals;
  readonly #catalogue: ServerCatalogue;
  readonly #sync: () => Promise<void>;

  constructor(
    connection: ReconnectingConnection,
    modules: KnownModules,
    approvals: Approvals,
    catalogue: ServerCatalogue,
    sync: () => Promise<void>,
  ) {
    this.#connection = connection;
    this.#modules = modules;
    this.#approvals = approvals;
    this.#catalogue = catalogue;
    this.#sync = sync;
  }

  /** Verifies the version of a module that the server reports. What was fetched for that goes into the store. */
  async verify(name: string): Promise<Verdict> {
    await this.#catalogue.settled();
    this.#catalogue.refuseUnusable();
    const { signature } = this.#catalogue;
    const verdict = await this.#verify(name);
    if (verdict.verified || signature === undefined) return verdict;
    // The news of a module may come before that of the catalogue which lists it.
    if (signature === this.#catalogue.signature) await this.#sync();
    return signature === this.#catalogue.signature ? verdict : this.#verify(name);
  }

  async #verify(name: string): Promise<Verdict> {
    let isFetched = false;
    const fetch = async (mod: string) => {
      const report = this.#modules.reports.get(mod);
      const stored = report && (await storedAnswer(this.#approvals.store, report));
      isFetched = stored === undefined;
      if (stored !== undefined) log.debug("{mod} is in the store.", { mod });
      return stored ?? (await this.#fetch(mod));
    };
    const verdict = await verifyLatest(name, this.#modules, {
      sync: this.#sync,
      fetch,
      sealed: (unsealed) => this.#catalogue.sealed(unsealed),
    });
    if (isFetched && verdict.verified) this.#approvals.fetched(verdict);
    return verdict;
  }

  async #fetch(mod: string): Promise<VerifyResponse> {
    const startedAt = performance.now();
    const answer = await this.#connection.request("mod", "verify", JSON.stringify({ mod }));
    log.debug("{mod} was fetched in {ms} ms.", { mod, ms: Math.round(performance.now() - startedAt) });
    return parseAnswer(verifyResponse, answer.json);
  }
}

/**
 * What the server would answer to `mod:verify` for the version that it reports, from the store; undefined unless all of it is
 * there and still has the digests that it is stored under.
 */
async function storedAnswer(
  store: SourceStore | undefined,
  report: ModuleReport,
): Promise<VerifyResponse | undefined> {
  if (store === undefined) return undefined;
  const { mod, sum, tree } = report;
  if (tree === undefined) {
    const content = await store.readText(sum);
    return content === undefined ? undefined : { ...report, content };
  }
  const [own, ...imported] = (await store.read(mod, tree)) ?? [];
  // A report whose sum and tree contradict each other is compared with what the server sends.
  if (own === undefined || own.sum !== sum) return undefined;
  return { ...report, content: own.content, files: imported };
}
