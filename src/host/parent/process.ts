import { messageOf, systemReasonOf, VeripyError } from "../../base/errors.ts";
import type { Duplex } from "../../protocol/duplex.ts";
import { killDescendants } from "../kill-descendants.ts";
import type { LogLevel } from "../protocol.ts";
import type { SandboxRules } from "../sandbox-rules.ts";
import { connectDescriptor, connectPipes } from "../transport.ts";
import { type HostOptions, hostArguments, hostCommand, hostEnvironment, hostName } from "./command.ts";
import { sandboxEnvironment } from "./module-sandbox.ts";
import { readLines } from "./read-lines.ts";
import { makeTemporaryFolder, removeTemporaryFolder } from "./temporary-folder.ts";

/** How long what a dead process has sent may take to be read. */
const lastWordsMs = 200;

/** Takes a line of a process's standard output (`info`) or standard error (`error`). */
export type OnLine = (level: LogLevel, text: string) => void;

/** A module host as a process: its start, its control channel, its end. */
export class HostProcess {
  readonly pid: number;
  readonly duplex: Duplex;
  #onEnd: ((reason: string) => void) | undefined;
  /** Why this side ended it, or the reason it gave itself. */
  #reason: string | undefined;
  #exit: string | undefined;
  #hungUp = false;
  #ended = false;
  #killTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #whenExited = Promise.withResolvers<void>();
  /** Aborted when the standard streams are no longer read. */
  readonly #output = new AbortController();

  readonly #temporaryFolder: string | undefined;

  private constructor(pid: number, duplex: Duplex, temporaryFolder: string | undefined) {
    this.pid = pid;
    this.duplex = duplex;
    this.#temporaryFolder = temporaryFolder;
  }

  /**
   * Starts a process and connects to it. Throws `bad_module` when the system refuses: no such user, no such
   * cgroup, no more processes, no temporary folder. `maxQueuedBytes` bounds what waits for a host that does not read;
   * without `rules` it is not sandboxed; `title` names in `ps` what it is going to run.
   */
  static async start(
    options: Partial<HostOptions>,
    maxQueuedBytes: number,
    onLine: OnLine,
    rules: SandboxRules | undefined,
    title?: string,
  ): Promise<HostProcess> {
    const folder = rules === undefined ? undefined : await temporaryFolder(options.user);
    try {
      return await HostProcess.#spawn(options, maxQueuedBytes, onLine, rules, folder, title);
    } catch (error) {
      if (folder !== undefined) removeTemporaryFolder(folder);
      throw error;
    }
  }

  static async #spawn(
    options: Partial<HostOptions>,
    maxQueuedBytes: number,
    onLine: OnLine,
    rules: SandboxRules | undefined,
    folder: string | undefined,
    title: string | undefined,
  ): Promise<HostProcess> {
    const transport = options.transport ?? (process.platform === "win32" ? "pipes" : "socket");
    let host: HostProcess | undefined;
    let child: Bun.Subprocess<"ignore" | "pipe", "pipe", "pipe">;
    let early: string | undefined;
    const command = options.command ?? hostCommand();
    const argv0 = hostName(command);
    const cwd = options.cwd ?? folder;
    try {
      child = Bun.spawn([...command, ...hostArguments(transport, title)], {
        ...(argv0 === undefined ? {} : { argv0 }),
        stdio: transport === "pipes" ? ["pipe", "pipe", "pipe"] : ["ignore", "pipe", "pipe", "socket-fd"],
        env: {
          ...hostEnvironment(options.moduleEnv ?? []),
          ...(rules === undefined || folder === undefined ? {} : sandboxEnvironment(rules, folder)),
        },
        // A session of its own: a signal to its group reaches the programs that a module started, and the
        // terminal's Ctrl-C does not reach the host before the server has said so.
        detached: true,
        ...(cwd === undefined ? {} : { cwd }),
        ...(options.user ?? {}),
        ...(options.cgroup === undefined ? {} : { cgroup: options.cgroup }),
        onExit(_process, code, signal) {
          const how = signal ? `was ended by ${signalName(signal)}` : `exited with code ${code}`;
          if (host === undefined) early = how;
          else host.#exited(how);
        },
      });
    } catch (error) {
      throw cannot("start", error);
    }
    let duplex: Duplex;
    try {
      duplex = await connect(child, maxQueuedBytes);
    } catch (error) {
      killTree(child.pid);
      throw cannot("reach", error);
    }
    host = new HostProcess(child.pid, duplex, folder);
    if (early !== undefined) host.#exited(early);
    const { signal } = host.#output;
    if (transport === "socket") void readLines(child.stdout, signal, (line) => onLine("info", line));
    void readLines(child.stderr, signal, (line) => onLine("error", line));
    return host;
  }

  /** False from the moment it is known to end. */
  get isAlive(): boolean {
    return this.#exit === undefined && !this.#hungUp && !this.duplex.isClosed;
  }

  /** Whether it is held to rules, as far as the system can do that. */
  get isSandboxed(): boolean {
    return this.#temporaryFolder !== undefined;
  }

  /** Resolves when the process has exited; what it sent last may not have been read yet. */
  get exited(): Promise<void> {
    return this.#whenExited.promise;
  }

  /** `onEnd` is called once, and last: the process has exited and everything it sent has been handled. */
  onEnd(onEnd: (reason: string) => void): void {
    this.#onEnd = onEnd;
  }

  /** The reason to report for its end. The first one stands. */
  explain(reason: string): void {
    this.#reason ??= reason;
  }

  /** Ends the process and everything in its group at once. The first reason stands. Idempotent. */
  kill(reason: string): void {
    this.explain(reason);
    if (this.#exit === undefined) killTree(this.pid);
  }

  /** Kills the process after `graceMs` if it has not ended by then. Idempotent. */
  expectEnd(graceMs: number): void {
    this.explain("the server stopped it");
    if (this.#exit !== undefined || this.#killTimer !== undefined) return;
    this.#killTimer = setTimeout(() => killTree(this.pid), graceMs);
  }

  /** To be called when the control channel has closed. */
  channelClosed(): void {
    this.#hungUp = true;
    if (this.#exit !== undefined) this.#finish();
    // A host without its channel is useless. It may be about to exit by itself.
    else this.#killTimer ??= setTimeout(() => killTree(this.pid), lastWordsMs);
  }

  #exited(how: string): void {
    this.#exit = how;
    this.#whenExited.resolve();
    clearTimeout(this.#killTimer);
    // Kills programs that the module has left behind.
    killGroup(this.pid);
    if (this.#temporaryFolder !== undefined) removeTemporaryFolder(this.#temporaryFolder);
    // What it wrote last may still be in the socket. A program of its own may hold the socket open, so don't wait for long.
    if (this.#hungUp) this.#finish();
    else setTimeout(() => this.#finish(), lastWordsMs);
  }

  #finish(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.duplex.abort(new VeripyError("closed", "The module host has ended."));
    // What it printed last is still read, even if a program of its own holds the streams open.
    setTimeout(() => this.#output.abort(), lastWordsMs).unref();
    this.#onEnd?.(this.#reason ?? `its process ${this.#exit}`);
  }
}

async function connect(
  child: Bun.Subprocess<"ignore" | "pipe", "pipe", "pipe">,
  maxQueuedBytes: number,
): Promise<Duplex> {
  if (child.stdin) {
    return connectPipes(child.stdout, child.stdin, maxQueuedBytes, () => killTree(child.pid));
  }
  const fd = child.stdio[3];
  if (typeof fd !== "number") throw new Error("the system gave no descriptor");
  return connectDescriptor(fd, maxQueuedBytes);
}

async function temporaryFolder(user: HostOptions["user"] | undefined): Promise<string> {
  try {
    return await makeTemporaryFolder(user);
  } catch (error) {
    throw cannot("make a temporary folder for", error);
  }
}

/** Clients are not told which file is at fault, the executable or a control group. */
function cannot(what: "start" | "reach" | "make a temporary folder for", cause: unknown): VeripyError {
  const reason = systemReasonOf(cause) ?? "the server's log says why";
  return new VeripyError("bad_module", `Cannot ${what} a module host: ${reason}.`, {
    cause,
    detail: `Cannot ${what} a module host: ${messageOf(cause)}.`,
  });
}

function signalName(signal: NodeJS.Signals | number): string {
  return typeof signal === "number" ? `signal ${signal}` : signal;
}

function killTree(pid: number): void {
  killDescendants(pid);
  killGroup(pid);
}

/** Does nothing when there is nothing left to kill. */
function killGroup(pid: number): void {
  try {
    // The host leads its group; on Windows there are no groups.
    process.kill(process.platform === "win32" ? pid : -pid, "SIGKILL");
  } catch {
    // It has ended already.
  }
}
