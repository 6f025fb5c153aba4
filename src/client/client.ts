import { EventEmitter } from "node:events";
import { VeripyError } from "../base/errors.ts";
import { type Limits, withDefaultLimits } from "../base/limits.ts";
import type { Frame } from "../protocol/frame.ts";
import {
  type InfoResponse,
  infoResponse,
  type ModuleReport,
  type ModuleStats,
  maxReports,
  parseAnswer,
  statsResponse,
  syncResponse,
  verifyResponse,
} from "../protocol/messages.ts";
import { Backoff } from "./backoff.ts";
import { NotSentError, withStarted } from "./call-fate.ts";
import type { ConnectOptions } from "./connect-options.ts";
import { type ConnectTarget, refreshTarget, resolveTarget } from "./connect-target.ts";
import { Connection, type ServerNews, type WireNews } from "./connection.ts";
import { ConnectionGate } from "./connection-gate.ts";
import { dial } from "./dial.ts";
import {
  defaultTimeoutMs,
  ExecCall,
  type ExecOptions,
  type ExecResult,
  ExecTarget,
  type Recover,
} from "./exec.ts";
import { Patience } from "./patience.ts";
import { rememberServer } from "./remember-server.ts";
import { repeat } from "./repeat.ts";
import { differenceOf, type ModuleDifference, sameReport } from "./report-difference.ts";
import { ServerKeyFollower } from "./server-key-follower.ts";
import { type Verdict, VerificationError, verifyModule } from "./verifier.ts";
import { type VerifyAllOptions, verifyEach } from "./verify-each.ts";

export interface VeripyClientEvents {
  /** A broadcast of the server. */
  news: [ServerNews];
  /** The connection broke; with `reconnect`, the next try is in `retryMs`. */
  disconnected: [{ reason: VeripyError; retryMs: number | undefined }];
  /** The connection is back, and what has changed meanwhile. */
  reconnected: [ModuleDifference];
  /** The end: `close()` was called, or the connection broke and is not made again. */
  closed: [VeripyError];
}

/** A client of one server. Made by `connect`; usable until `close()`. */
export class VeripyClient extends EventEmitter<VeripyClientEvents> {
  readonly #options: ConnectOptions;
  #target: ConnectTarget;
  // In a turn of its own: the first sync may have it, before whoever awaits `connect` can listen.
  readonly #serverKey = new ServerKeyFollower((news) => void setImmediate(() => this.emit("news", news)));
  readonly #limits: Readonly<Limits>;
  readonly #patience: Patience;
  readonly #reconnects: boolean;
  readonly #gate: ConnectionGate | undefined;
  readonly #backoff = new Backoff();
  #connection: Connection | undefined;
  /** The first sync is under way, which learns of the connection's end by itself. */
  #isJoining = false;
  #reports = new Map<string, ModuleReport>();
  /** The modules whose report is a broadcast's. */
  readonly #broadcasts = new Set<string>();
  readonly #verdicts = new Map<string, Known>();
  #rememberedIn: string | undefined;
  #closedBy: VeripyError | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #dialling = new AbortController();

  /** Use `connect`. */
  private constructor(target: ConnectTarget, options: ConnectOptions) {
    super();
    this.#options = options;
    this.#target = target;
    this.#limits = withDefaultLimits(options.limits);
    this.#patience = new Patience(options.timeoutMs ?? 10_000);
    this.#reconnects = options.reconnect ?? false;
    const waits = this.#reconnects && (options.waitForConnection ?? true);
    this.#gate = waits ? new ConnectionGate() : undefined;
  }

  static async open(options: ConnectOptions): Promise<VeripyClient> {
    const target = await resolveTarget({ host: "localhost", port: 8443, certsDir: "./certs", ...options });
    const client = new VeripyClient(target, options);
    try {
      await client.#join();
      await client.#remember();
    } catch (error) {
      client.close();
      throw error;
    }
    return client;
  }

  /** This client's own. */
  get fingerprint(): string {
    return this.#target.identity.fingerprint;
  }

  get serverFingerprint(): string {
    return this.#target.seenFingerprint ?? "";
  }

  /** The file into which `rememberServer` has written the server's key; undefined when it wrote nothing. */
  get rememberedIn(): string | undefined {
    return this.#rememberedIn;
  }

  get isConnected(): boolean {
    return this.#connection !== undefined;
  }

  /** What the server reported last, by module name. Not verified by being here. */
  get reports(): ReadonlyMap<string, ModuleReport> {
    return this.#reports;
  }

  /** Asks for the list of modules. */
  async sync(): Promise<ModuleReport[]> {
    await this.#refresh();
    return [...this.#reports.values()];
  }

  /**
   * Fetches a module's source and verifies it. A mismatch is a verdict, not an exception. Throws `not_found`,
   * or what broke the request.
   */
  async verify(mod: string): Promise<Verdict> {
    const name = this.#nameOf(mod);
    const verdict = await this.#verifyAsReported(name);
    // A broadcast speaks of what is served from then on, so nothing but the next one can excuse another content.
    if (verdict.verified || this.#broadcasts.has(name)) return verdict;
    // The module may have changed since the sync; a report that is fresh decides.
    const before = this.#reports.get(name);
    await this.#refresh();
    return sameReport(before, this.#reports.get(name)) ? verdict : this.#verifyAsReported(name);
  }

  /**
   * Verifies modules, those of the last sync by default, a few at a time, and resolves with the verdicts in their order.
   * `onOutcome` is told of each as it comes. What could not be fetched does not keep the others from being verified; the
   * promise then rejects with the first such error.
   */
  async verifyAll(options: VerifyAllOptions = {}): Promise<Verdict[]> {
    const { mods = [...this.#reports.keys()], onOutcome } = options;
    const outcomes = await verifyEach(mods, (mod) => this.verify(mod), onOutcome);
    return outcomes.map((outcome) => {
      if ("error" in outcome) throw outcome.error;
      return outcome.verdict;
    });
  }

  /** The verdict on the version that is reported now, if it was verified. */
  verdictOf(mod: string): Verdict | undefined {
    return this.#knownOf(this.#nameOf(mod))?.verdict;
  }

  #knownOf(name: string): Known | undefined {
    const known = this.#verdicts.get(name);
    return known !== undefined && sameReport(known.report, this.#reports.get(name)) ? known : undefined;
  }

  /**
   * Runs a module, after verifying it if that has not happened yet, and names the verified version to the
   * server. Rejects with `verification_failed`, the server's code, `timeout` or `cancelled`; the error's `started`
   * tells whether the call may have run. What has certainly not run is made again, unless `repeat` is false.
   */
  exec(mod: string, args = "", options: ExecOptions = {}): Promise<ExecResult> {
    // Not async: whoever calls a verified module over and over pays for one promise a call.
    const name = this.#nameOf(mod);
    const known = options.tree === undefined ? this.#knownOf(name) : undefined;
    const channel = this.#connection?.channel;
    if (known?.target === undefined || channel === undefined || channel.isClosed)
      return this.#repeat(name, args, options, performance.now());
    return new ExecCall(channel, known.target, args, options, this.#recover).run();
  }

  /** It has not run: the version was replaced between check and call, or the server refused it. */
  readonly #recover: Recover = (error, call) => {
    if (!(error instanceof VeripyError)) return undefined;
    if (error.code === "version_mismatch") return this.#execAnew(call);
    const { target, args, options, startedAt } = call;
    if (error.started !== false || !this.#mayRepeat(error, options)) return undefined;
    return this.#repeat(target.mod, args, options, startedAt, error);
  };

  /** The same without a repetition, for a call that is in one. */
  readonly #recoverMismatch: Recover = (error, call) =>
    error instanceof VeripyError && error.code === "version_mismatch" ? this.#execAnew(call) : undefined;

  async #execAnew({ target: { mod }, args, options }: ExecCall): Promise<ExecResult> {
    const call = await notStarted(async () => {
      await this.#refresh();
      const target = targetOf(await this.verify(mod));
      return new ExecCall(this.#openConnection().channel, target, args, options);
    });
    return call.run();
  }

  #repeat(
    name: string,
    args: string,
    options: ExecOptions,
    startedAt: number,
    failure?: VeripyError,
  ): Promise<ExecResult> {
    const { signal, timeoutMs = defaultTimeoutMs } = options;
    const deadline = startedAt + timeoutMs;
    let isFirst = failure === undefined;
    const attempt = () => {
      const own = isFirst ? options : { ...options, timeoutMs: leftUntil(deadline) };
      isFirst = false;
      return this.#attempt(name, args, own, deadline);
    };
    const mayRepeat = (error: VeripyError) => this.#mayRepeat(error, options);
    return repeat({ deadline, signal, mayRepeat, attempt }, failure);
  }

  /** Whether what has not run may work later. What was never sent needs another connection. */
  #mayRepeat(error: VeripyError, { repeat: isWanted = true }: ExecOptions): boolean {
    if (!isWanted || this.#closedBy !== undefined || error.code === "cancelled") return false;
    if (error.code === "busy" || error.code === "shutting_down") return true;
    return this.#gate !== undefined && (error.code === "unreachable" || error instanceof NotSentError);
  }

  async #attempt(name: string, args: string, options: ExecOptions, deadline: number): Promise<ExecResult> {
    let own = options;
    const call = await notStarted(async () => {
      if (this.#gate?.isOpen === false) {
        await this.#gate.wait(leftUntil(deadline), options.signal);
        own = { ...options, timeoutMs: leftUntil(deadline) };
      }
      const target = await this.#targetFor(this.#nameOf(name), options.tree);
      const recover = options.tree === undefined ? this.#recoverMismatch : undefined;
      const { channel } = this.#openConnection();
      return new ExecCall(channel, target, args, own, recover);
    });
    return call.run();
  }

  async #targetFor(name: string, tree: string | undefined): Promise<ExecTarget> {
    if (tree === undefined) return this.#knownOf(name)?.target ?? targetOf(await this.verify(name));
    const verified = this.#verdicts.get(name)?.target;
    return verified?.tree === tree ? verified : new ExecTarget(name, tree, undefined);
  }

  /** Per module: version, process, memory, calls, failures, restarts, run times. */
  async stats(): Promise<ModuleStats[]> {
    return parseAnswer(statsResponse, (await this.#request("mod", "stats", "{}")).json).modules;
  }

  async info(): Promise<InfoResponse> {
    return parseAnswer(infoResponse, (await this.#request("sys", "info", "{}")).json);
  }

  /** Milliseconds there and back. */
  async ping(): Promise<number> {
    const start = performance.now();
    await this.#request("sys", "ping", "{}");
    return performance.now() - start;
  }

  /** Ends everything: pending requests are rejected with `closed`. Idempotent. */
  close(): void {
    this.#end(new VeripyError("closed", "The client was closed."));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #end(reason: VeripyError): void {
    if (this.#closedBy !== undefined) return;
    this.#closedBy = reason;
    clearTimeout(this.#retryTimer);
    this.#dialling.abort();
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.close();
    this.#gate?.end(reason);
    this.emit("closed", reason);
  }

  /** Connects; the first answer shows that the server accepts this client's key, and what it has. */
  async #join(): Promise<void> {
    this.#isJoining = true;
    try {
      await this.#connect();
      await this.#refresh();
      // Right behind its answer; whoever is told of the end of connections was not told of this one.
      if (this.#connection?.channel.isClosed === true)
        throw new VeripyError("unreachable", "The server closed the connection.");
    } catch (error) {
      const connection = this.#connection;
      this.#connection = undefined;
      connection?.close();
      throw error;
    } finally {
      this.#isJoining = false;
    }
  }

  async #remember(): Promise<void> {
    const { rememberServer: remember = false } = this.#options;
    if (remember === false) return;
    // A key that the server has announced meanwhile is kept with the current one.
    await this.#serverKey.settled();
    this.#rememberedIn = await rememberServer(this.#target, remember);
    // While a question was open; there was no listener yet.
    if (this.#closedBy !== undefined) throw this.#closedBy;
  }

  async #connect(): Promise<void> {
    const peer = await dial(this.#target, this.#patience.timeoutMs, this.#dialling.signal);
    if (this.#closedBy !== undefined) {
      peer.duplex.close();
      throw this.#closedBy;
    }
    const connection = new Connection(peer, {
      limits: this.#limits,
      fingerprint: this.fingerprint,
      keepaliveMs: this.#options.keepaliveMs ?? defaultKeepaliveMs,
      pongMs: this.#patience.pongMs,
      onPong: (tookMs) => this.#patience.answered(tookMs),
      onNews: (news) => this.#news(news),
      onRotation: (announcement) => this.#serverKey.announced(this.#target, peer.fingerprint, announcement),
      onClosed: (reason) => this.#disconnected(connection, reason),
    });
    this.#connection = connection;
    this.#serverKey.connected(this.#target, peer.fingerprint);
  }

  #disconnected(connection: Connection, reason: VeripyError): void {
    if (this.#connection !== connection || this.#isJoining) return;
    this.#connection = undefined;
    if (!this.#reconnects) {
      this.emit("disconnected", { reason, retryMs: undefined });
      this.#end(reason);
      return;
    }
    this.#retryLater(reason);
  }

  #retryLater(reason: VeripyError): void {
    this.#patience.failed(reason);
    this.#gate?.shut(reason);
    const retryMs = this.#backoff.nextMs();
    this.#retryTimer = setTimeout(() => void this.#retry(), retryMs);
    this.emit("disconnected", { reason, retryMs });
  }

  async #retry(): Promise<void> {
    const before = this.#reports;
    try {
      this.#target = await refreshTarget(this.#target, this.#options);
      if (this.#closedBy !== undefined) return;
      await this.#join();
    } catch (error) {
      if (this.#closedBy !== undefined) return;
      const reason =
        error instanceof VeripyError
          ? error
          : new VeripyError("unreachable", String(error), { cause: error });
      this.#retryLater(reason);
      return;
    }
    this.#backoff.reset();
    this.#gate?.open();
    this.emit("reconnected", differenceOf(before, this.#reports));
  }

  #news(news: WireNews): void {
    if (news.kind === "modload" || news.kind === "modreload") {
      if (this.#reports.size >= maxReports && !this.#reports.has(news.mod)) {
        throw new VeripyError("too_large", `it reports more than ${maxReports} modules.`);
      }
      this.#reports.set(news.mod, news.report);
      this.#broadcasts.add(news.mod);
    } else if (news.kind === "modunload") {
      this.#reports.delete(news.mod);
      this.#broadcasts.delete(news.mod);
      this.#verdicts.delete(news.mod);
    } else if (news.kind === "drain") {
      // It takes calls only on another connection, once it is back.
      this.#gate?.shut(new VeripyError("shutting_down", "The server is stopping."));
    }
    this.emit("news", news);
  }

  async #refresh(): Promise<void> {
    const frame = await this.#request("mod", "sync", "{}");
    const { modules, rotation } = parseAnswer(syncResponse, frame.json);
    const { seenFingerprint } = this.#target;
    if (rotation !== undefined && seenFingerprint !== undefined) {
      this.#serverKey.announced(this.#target, seenFingerprint, rotation);
    }
    this.#reports = new Map(modules.map((report) => [report.mod, report]));
    this.#broadcasts.clear();
    for (const mod of this.#verdicts.keys()) if (!this.#reports.has(mod)) this.#verdicts.delete(mod);
    if (modules.some(({ tree }) => tree !== undefined)) this.#connection?.startPinging();
  }

  /** Asks again when the report has changed: a broadcast right behind the answer may speak of the next version. */
  async #verifyAsReported(name: string): Promise<Verdict> {
    for (let attempt = 1; ; attempt++) {
      const before = this.#reports.get(name);
      const verdict = await this.#fetchAndVerify(name);
      const stands = verdict.verified || sameReport(before, this.#reports.get(name));
      if (stands || attempt === maxAttempts) return verdict;
    }
  }

  async #fetchAndVerify(name: string): Promise<Verdict> {
    const answer = await this.#request("mod", "verify", JSON.stringify({ mod: name }));
    const received = parseAnswer(verifyResponse, answer.json);
    // The report as it is now: a broadcast that overtook the answer speaks of the version in the answer.
    const report = this.#reports.get(name);
    if (report === undefined)
      throw new VeripyError("not_found", `The server does not report a module '${name}'.`);
    const verdict = verifyModule(report, received);
    const isTarget = verdict.verified && verdict.isCallable;
    this.#verdicts.set(name, { report, verdict, target: isTarget ? targetOf(verdict) : undefined });
    return verdict;
  }

  #request(api: string, type: string, json: string): Promise<Frame> {
    return this.#openConnection().channel.request(api, type, json, {
      timeoutMs: this.#patience.timeoutMs,
      countsProgress: true,
    });
  }

  #openConnection(): Connection {
    if (this.#connection !== undefined) return this.#connection;
    throw new NotSentError(
      this.#closedBy ?? new VeripyError("unreachable", "There is no connection to the server at the moment."),
    );
  }

  /** `hello` may stand for `hello.ts`, then for `hello.js`. */
  #nameOf(mod: string): string {
    if (this.#reports.has(mod)) return mod;
    return [`${mod}.ts`, `${mod}.js`].find((name) => this.#reports.has(name)) ?? mod;
  }
}

/** More often a module is not fetched for one verdict, however often it changes meanwhile. */
const maxAttempts = 10;

const defaultKeepaliveMs = 20_000;

/** What this client has found out about a module. */
interface Known {
  /** What the server had said of it. */
  readonly report: ModuleReport;
  readonly verdict: Verdict;
  /** Undefined for a module that is not to be called. */
  readonly target: ExecTarget | undefined;
}

function leftUntil(deadline: number): number {
  return Math.max(1, Math.ceil(deadline - performance.now()));
}

/** Whatever goes wrong before a call is sent: it has not run. */
async function notStarted<T>(prepare: () => Promise<T>): Promise<T> {
  try {
    return await prepare();
  } catch (error) {
    throw error instanceof VeripyError ? withStarted(error, false) : error;
  }
}

/** Throws for a module that is not what the server said, and for a server that runs none. */
function targetOf(verdict: Verdict): ExecTarget {
  if (!verdict.verified) throw new VerificationError(verdict);
  if (verdict.isCallable) return new ExecTarget(verdict.mod, verdict.tree, verdict.sum);
  throw new VeripyError(
    "unsupported",
    "This server knows only the plain form of the protocol: it lists and verifies modules, but does not run them.",
  );
}

/**
 * Connects to a server and resolves when it has accepted this client and told its modules. Rejects with
 * `untrusted` (either side), `unreachable`, `timeout`, `bad_identity` or `bad_config`.
 */
export function connect(options: ConnectOptions = {}): Promise<VeripyClient> {
  return VeripyClient.open(options);
}
