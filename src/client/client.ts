import { EventEmitter } from "node:events";
import { join } from "node:path";
import type { Approval } from "../approvals/approval.ts";
import { VeripyError } from "../base/errors.ts";
import { loggerOf } from "../base/log.ts";
import { SerialRecord } from "../catalogue/serial-record.ts";
import {
  catalogueResponse,
  type InfoResponse,
  infoResponse,
  type ModuleReport,
  type ModuleStats,
  parseAnswer,
  type StatsResponse,
  statsResponse,
  syncResponse,
} from "../protocol/messages.ts";
import { type ApprovalFiles, approvalFiles } from "./approval-files.ts";
import { Approvals } from "./approvals.ts";
import type { ConnectOptions } from "./connect-options.ts";
import { type ConnectTarget, resolveTarget } from "./connect-target.ts";
import type { ClientSession, ServerNews } from "./connection.ts";
import type { ExecOptions, ExecResult } from "./exec.ts";
import { KnownModules } from "./known-modules.ts";
import { type CallArguments, ModuleCalls } from "./module-calls.ts";
import { ModuleSources } from "./module-sources.ts";
import { ReconnectingConnection } from "./reconnecting-connection.ts";
import { differenceOf, type ModuleDifference } from "./report-difference.ts";
import { type CatalogueNews, ServerCatalogue } from "./server-catalogue.ts";
import type { Verdict } from "./verifier.ts";
import { type VerifyAllOptions, verifyEach } from "./verify-each.ts";

const log = loggerOf("client");

export interface VeripyClientEvents {
  /** A broadcast from the server. */
  news: [ServerNews];
  /** The connection broke. With `reconnect`, the next attempt starts in `retryMs`. */
  disconnected: [{ reason: VeripyError; retryMs: number | undefined }];
  /** The connection is back, with what has changed meanwhile. */
  reconnected: [ModuleDifference];
  /** A module has become pending: it, or what was decided about it, has changed. Once for each version. */
  pending: [{ mod: string; approval: Approval }];
  /** The server has another catalogue, which was accepted, or refused: then the earlier one holds. Only with `signers`. */
  catalogue: [CatalogueNews];
  /** The client is closed: by `close()`, or because the connection broke and `reconnect` is off. */
  closed: [VeripyError];
}

/** A client of one server. Made by `connect`; usable until `close()`. */
export class VeripyClient extends EventEmitter<VeripyClientEvents> {
  readonly #connection: ReconnectingConnection;
  readonly #modules = new KnownModules();
  /** What was decided about this server's modules, and the way to decide. */
  readonly approvals: Approvals;
  /** The signed catalogue that this server's modules are held to, with `signers`. */
  readonly catalogue: ServerCatalogue;
  readonly #sources: ModuleSources;
  readonly #calls: ModuleCalls;
  /** The reports at the time when the connection was lost. */
  #reportsBefore: ReadonlyMap<string, ModuleReport> = new Map();
  #rememberedIn: string | undefined;
  /** The server reports modules without trees, and must not be asked for what it does not know. */
  #isPlain = false;

  /** Use `connect`. */
  private constructor(target: ConnectTarget, options: ConnectOptions, files: ApprovalFiles) {
    super();
    this.approvals = new Approvals(files, this.#modules, (mod, approval) => {
      this.emit("pending", { mod, approval });
    });
    const { signers, signer, home } = options;
    const record = home === undefined ? undefined : new SerialRecord(home);
    this.catalogue = new ServerCatalogue(
      signers === undefined
        ? undefined
        : {
            signersFile: signers,
            signer,
            record,
            address: files.address,
          },
      {
        fetch: async () => {
          if (this.#isPlain)
            throw new VeripyError("not_found", "it speaks only the plain form of the protocol");
          const { json } = await this.#connection.request("sys", "catalogue", "{}");
          return parseAnswer(catalogueResponse, json);
        },
        lockMark: (name) => this.approvals.markOf(name),
        announced: (news) => this.emit("catalogue", news),
        joined: (catalogue) => this.approvals.joined(catalogue),
        changed: () => {
          if (this.catalogue.isUsable) this.#modules.judgeAgain((one) => this.catalogue.sealed(one));
          else this.#modules.forgetVerdicts();
          this.approvals.calls.decisionsChanged();
        },
      },
    );
    const sync = () => this.#sync();
    this.#connection = new ReconnectingConnection(target, options, {
      sync: async () => {
        const { earlierKeys } = this.#connection;
        const server = this.serverFingerprint;
        this.catalogue.connected({ server, earlierKeys });
        await this.approvals.connected(server, earlierKeys, await record?.nameOf(server, earlierKeys));
        // Nothing is asked of a server that is refused, unless its catalogue may bring approvals that apply to it.
        if (!this.catalogue.isRequired) this.approvals.refuseServer();
        await this.#sync(options.decide);
        this.approvals.refuseServer();
      },
      news: (news) => {
        this.#modules.update(news);
        if (news.kind === "rotate") this.approvals.rotated(news.previous, news.fingerprint);
        this.emit("news", news);
        if (news.kind === "catalogue") void this.catalogue.announced(news.report);
        if ("mod" in news && news.kind !== "moderror") this.approvals.reported(news.mod);
      },
      disconnected: (reason, retryMs) => {
        this.#reportsBefore = this.#modules.reports;
        this.emit("disconnected", { reason, retryMs });
      },
      reconnected: () => {
        this.emit("reconnected", differenceOf(this.#reportsBefore, this.#modules.reports));
      },
      closed: (reason) => {
        this.approvals.close();
        this.catalogue.close();
        this.emit("closed", reason);
      },
    });
    this.#sources = new ModuleSources(this.#connection, this.#modules, this.approvals, this.catalogue, sync);
    const verify = (name: string) => this.#sources.verify(name);
    this.#calls = new ModuleCalls(this.#connection, this.#modules, this.approvals.calls, this.catalogue, {
      sync,
      verify,
    });
  }

  static async open(options: ConnectOptions): Promise<VeripyClient> {
    const target = await resolveTarget({
      host: "localhost",
      port: 8443,
      certsDir: join(options.home ?? ".", "certs"),
      ...options,
    });
    const client = new VeripyClient(target, options, await approvalFiles(target, options));
    try {
      await client.#connection.join();
      client.#rememberedIn = await client.#connection.rememberServer(options.rememberServer ?? false);
    } catch (error) {
      client.close();
      throw error;
    }
    return client;
  }

  /** This client's own. */
  get fingerprint(): string {
    return this.#connection.fingerprint;
  }

  get serverFingerprint(): string {
    return this.#connection.serverFingerprint;
  }

  /** The file to which `rememberServer` wrote the server's key; undefined when it wrote nothing. */
  get rememberedIn(): string | undefined {
    return this.#rememberedIn;
  }

  /** The current connection; undefined while there is none. */
  get session(): ClientSession | undefined {
    return this.#connection.current?.session;
  }

  get isConnected(): boolean {
    return this.#connection.current !== undefined;
  }

  /** The server's latest reports, by module name. A report is what the server says; it is not verified. */
  get reports(): ReadonlyMap<string, ModuleReport> {
    return this.#modules.reports;
  }

  /** Asks for the list of modules. */
  async sync(): Promise<ModuleReport[]> {
    await this.#sync();
    return [...this.#modules.reports.values()];
  }

  /**
   * Verifies a module's source, which is fetched unless the store has it. A mismatch is a verdict, not an exception. Throws
   * `not_found`, or the reason why the request failed.
   */
  verify(mod: string): Promise<Verdict> {
    return this.#sources.verify(this.#modules.nameOf(mod));
  }

  /**
   * Verifies modules, by default all that are reported, a few at a time, and resolves with the verdicts in that order.
   * `onOutcome` is called with each outcome as it comes. A module that can't be fetched does not stop the others; the
   * promise then rejects with the first such error.
   */
  async verifyAll(options: VerifyAllOptions = {}): Promise<Verdict[]> {
    const { mods = [...this.#modules.reports.keys()], onOutcome } = options;
    const outcomes = await verifyEach(mods, (mod) => this.verify(mod), onOutcome);
    return outcomes.map((outcome) => {
      if ("error" in outcome) throw outcome.error;
      return outcome.verdict;
    });
  }

  /** The verdict on the version that is reported now; undefined when that has not been verified. */
  verdictOf(mod: string): Verdict | undefined {
    return this.#modules.current(this.#modules.nameOf(mod))?.verdict;
  }

  /**
   * Runs a module, after verifying it if that has not happened yet, and names the verified version to the
   * server. Rejects with `verification_failed`, the server's code, `timeout` or `cancelled`; the error's `started`
   * tells whether the call may have run. A call that has certainly not run is made again, unless `repeat` is false.
   *
   * Arguments given as words, such as `["env=prod", "tags=a"]`, become what the schema of that version says; see
   * `buildArguments`. Rejects with `bad_arguments` before anything is sent if they do not fit it.
   */
  exec(mod: string, args: CallArguments = "", options: ExecOptions = {}): Promise<ExecResult> {
    return this.#calls.exec(mod, args, options);
  }

  /**
   * Does everything that `exec` does before it calls the module, and resolves with the tree that a call would name: the
   * approved one, or the current one once it is verified. Rejects as `exec` would; calls nothing.
   */
  prepare(mod: string, args: CallArguments = ""): Promise<string> {
    return this.#calls.prepare(mod, args);
  }

  /** Per module: version, process, memory, calls, failures, restarts, run times. */
  async stats(): Promise<ModuleStats[]> {
    return (await this.processes()).modules;
  }

  /** The same, with what the server says of its sandbox; older servers say nothing. */
  async processes(): Promise<StatsResponse> {
    return parseAnswer(statsResponse, (await this.#connection.request("mod", "stats", "{}")).json);
  }

  async info(): Promise<InfoResponse> {
    return parseAnswer(infoResponse, (await this.#connection.request("sys", "info", "{}")).json);
  }

  /** Returns the round-trip time in milliseconds. */
  async ping(): Promise<number> {
    const start = performance.now();
    await this.#connection.request("sys", "ping", "{}");
    return performance.now() - start;
  }

  /** Closes the connection for good: pending requests are rejected with `closed`. Idempotent. */
  close(): void {
    this.#connection.close(new VeripyError("closed", "The client was closed."));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** With `decide`, a catalogue that is not accepted does not end the connection; nothing is verified without one. */
  async #sync(decide = false): Promise<void> {
    const startedAt = performance.now();
    const frame = await this.#connection.request("mod", "sync", "{}");
    const { modules, rotation, catalogue } = parseAnswer(syncResponse, frame.json);
    if (rotation !== undefined) this.#connection.announced(rotation);
    // Before anything is awaited: a broadcast that follows the answer is newer.
    this.#modules.replace(modules);
    const ms = Math.round(performance.now() - startedAt);
    log.debug("The server accepts this client and reports {count} modules, after {ms} ms.", {
      count: modules.length,
      ms,
    });
    this.approvals.reported();
    this.#isPlain = modules.length > 0 && modules.every(({ tree }) => tree === undefined);
    await this.catalogue.offered(catalogue).catch((error) => {
      if (!decide || !(error instanceof VeripyError) || error.code !== "not_signed") throw error;
      this.catalogue.refused(error);
    });
    // A server of the plain protocol knows no pings.
    if (modules.length > 0 && !this.#isPlain) this.#connection.current?.startPinging();
  }
}

/**
 * Connects to a server and resolves when it has accepted this client and reported its modules. Rejects with
 * `untrusted` (either side), `unreachable`, `timeout`, `bad_identity` or `bad_config`.
 */
export function connect(options: ConnectOptions = {}): Promise<VeripyClient> {
  return VeripyClient.open(options);
}
