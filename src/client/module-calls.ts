import { VeripyError } from "../base/errors.ts";
import { buildArguments } from "../manifest/build-arguments.ts";
import type { Channel } from "../protocol/channel.ts";
import { NotSentError, withStarted } from "./call-fate.ts";
import type { CallRules } from "./call-rules.ts";
import {
  defaultTimeoutMs,
  ExecCall,
  type ExecOptions,
  type ExecResult,
  ExecTarget,
  type Recover,
} from "./exec.ts";
import { type KnownModules, targetOf } from "./known-modules.ts";
import type { ReconnectingConnection } from "./reconnecting-connection.ts";
import { repeat } from "./repeat.ts";
import type { ServerCatalogue } from "./server-catalogue.ts";
import type { Verdict } from "./verifier.ts";

/** A call's arguments: text, or words that become what the schema of the called version says (see `buildArguments`). */
export type CallArguments = string | readonly string[];

/** What a call needs done before it can be sent. */
export interface CallPreparation {
  verify(name: string): Promise<Verdict>;
  /** Replaces all reports with the server's current ones. */
  sync(): Promise<void>;
}

/** A client's calls of modules: verifies before the first one, names what is approved, and repeats what has certainly not run. */
export class ModuleCalls {
  readonly #connection: ReconnectingConnection;
  readonly #modules: KnownModules;
  readonly #rules: CallRules;
  readonly #catalogue: ServerCatalogue;
  readonly #preparation: CallPreparation;

  constructor(
    connection: ReconnectingConnection,
    modules: KnownModules,
    rules: CallRules,
    catalogue: ServerCatalogue,
    preparation: CallPreparation,
  ) {
    this.#connection = connection;
    this.#modules = modules;
    this.#rules = rules;
    this.#catalogue = catalogue;
    this.#preparation = preparation;
  }

  /** See `VeripyClient.exec`. */
  exec(mod: string, args: CallArguments, options: ExecOptions): Promise<ExecResult> {
    // Not async: repeated calls of a verified module cost one promise each.
    const name = this.#modules.nameOf(mod);
    const target = options.tree === undefined ? this.#readyTarget(name) : undefined;
    const channel = this.#connection.synced?.channel;
    if (target === undefined || typeof args !== "string" || channel === undefined || channel.isClosed)
      return this.#repeat(name, args, options, performance.now());
    return new ExecCall(channel, target, args, options, this.#recover).run();
  }

  /** See `VeripyClient.prepare`. */
  prepare(mod: string, args: CallArguments): Promise<string> {
    return notStarted(async () => {
      const target = await this.#targetFor(this.#modules.nameOf(mod), undefined);
      this.#textFor(target, args);
      return target.tree;
    });
  }

  /** What a call names, if nothing has to be fetched or looked up for that. */
  #readyTarget(name: string): ExecTarget | undefined {
    if (this.#catalogue.isRequired && !this.#catalogue.isUsable) return undefined;
    if (this.#rules.isGoverned) return this.#rules.prepared(name);
    const target = this.#modules.current(name)?.target;
    return target !== undefined && this.#rules.isDenied(name, target.tree) ? undefined : target;
  }

  /** Takes over a call that has not run: its version was replaced after the verification, or the server refused it. */
  readonly #recover: Recover = (error, call) => {
    if (!(error instanceof VeripyError)) return undefined;
    if (error.code === "version_mismatch") return this.#execAnew(call, call.args);
    const { target, args, options, startedAt } = call;
    if (error.started !== false || !this.#mayRepeat(error, options)) return undefined;
    return this.#repeat(target.mod, args, options, startedAt, error);
  };

  /** For a call that `#repeat` makes, which handles refusals itself. */
  #recoverMismatch(args: CallArguments): Recover {
    return (error, call) =>
      error instanceof VeripyError && error.code === "version_mismatch"
        ? this.#execAnew(call, args)
        : undefined;
  }

  async #execAnew({ target: { mod, tree }, options }: ExecCall, args: CallArguments): Promise<ExecResult> {
    const call = await notStarted(async () => {
      await this.#preparation.sync();
      const isApproved = this.#rules.approvedFor(mod) !== undefined;
      const target = await this.#targetFor(mod, undefined);
      // Another version than the approved one is not a substitute for it.
      if (isApproved && target.tree === tree) throw this.#rules.gone(mod, tree);
      return new ExecCall(this.#syncedChannel(), target, this.#textFor(target, args), options);
    });
    return call.run();
  }

  #repeat(
    name: string,
    args: CallArguments,
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

  /** Whether a call that has not run may succeed later. One that was never sent needs another connection. */
  #mayRepeat(error: VeripyError, { repeat: isWanted = true }: ExecOptions): boolean {
    const { gate, isClosed } = this.#connection;
    if (!isWanted || isClosed || error.code === "cancelled") return false;
    if (error.code === "busy" || error.code === "shutting_down") return true;
    return gate !== undefined && (error.code === "unreachable" || error instanceof NotSentError);
  }

  async #attempt(
    name: string,
    args: CallArguments,
    options: ExecOptions,
    deadline: number,
  ): Promise<ExecResult> {
    let own = options;
    const call = await notStarted(async () => {
      const { gate } = this.#connection;
      if (gate?.isOpen === false) {
        await gate.wait(leftUntil(deadline), options.signal);
        own = { ...options, timeoutMs: leftUntil(deadline) };
      }
      const target = await this.#targetFor(this.#modules.nameOf(name), options.tree);
      const text = this.#textFor(target, args);
      const recover = options.tree === undefined ? this.#recoverMismatch(args) : undefined;
      return new ExecCall(this.#syncedChannel(), target, text, own, recover);
    });
    return call.run();
  }

  /** The text of the arguments, which words become by the schema of the version that is called. */
  #textFor({ mod, tree }: ExecTarget, args: CallArguments): string {
    if (typeof args === "string") return args;
    const approved = this.#rules.approvedFor(mod, tree);
    if (approved !== undefined) return buildArguments(mod, approved.input, args);
    const verdict = this.#modules.latest(mod)?.verdict;
    if (verdict?.verified !== true || verdict.tree !== tree)
      throw new VeripyError(
        "unsupported",
        `Cannot build the arguments of ${mod}: the version ${tree} was not verified here, so its schema is unknown. Pass them as a string.`,
      );
    return buildArguments(mod, verdict.input, args);
  }

  async #targetFor(name: string, tree: string | undefined): Promise<ExecTarget> {
    await this.#catalogue.settled();
    this.#catalogue.refuseUnusable();
    const approved = this.#rules.approvedFor(name, tree);
    if (approved !== undefined) {
      this.#catalogue.refuseUnlisted(name, approved.files);
      const report = this.#modules.reports.get(name);
      // An earlier version, which the server may still retain, can't be fetched. Its name is its digest.
      const isCurrent = report !== undefined && (report.tree ?? approved.tree) === approved.tree;
      if (isCurrent && this.#modules.current(name)?.target === undefined)
        targetOf(await this.#preparation.verify(name));
      // Something else may have been decided meanwhile.
      const isStill = this.#rules.approvedFor(name, tree)?.tree === approved.tree;
      if (isStill) this.#catalogue.refuseUnlisted(name, approved.files);
      return isStill
        ? this.#rules.prepare(name, approved, this.#catalogue.signature)
        : this.#targetFor(name, tree);
    }
    if (tree !== undefined) {
      this.#rules.refuseDenied(name, tree);
      const verified = this.#modules.latest(name)?.target;
      if (verified?.tree === tree) return verified;
      if (!this.#catalogue.isRequired) return new ExecTarget(name, tree, undefined);
      throw new VeripyError(
        "not_signed",
        `Cannot tell whether the version ${tree} of ${name} is signed: it was not verified here. Verify it before the call, or name no version.`,
      );
    }
    const target = this.#modules.current(name)?.target ?? targetOf(await this.#preparation.verify(name));
    if (this.#rules.isGoverned) return this.#targetFor(name, tree);
    this.#rules.refuseDenied(name, target.tree);
    return target;
  }

  #syncedChannel(): Channel {
    return this.#connection.requiredSynced().channel;
  }
}

function leftUntil(deadline: number): number {
  return Math.max(1, Math.ceil(deadline - performance.now()));
}

/** Marks whatever goes wrong before a call is sent: the call has not run. */
async function notStarted<T>(prepare: () => Promise<T>): Promise<T> {
  try {
    return await prepare();
  } catch (error) {
    throw error instanceof VeripyError ? withStarted(error, false) : error;
  }
}
