import { messageOf, VeripyError } from "../../base/errors.ts";
import type { InputCheck } from "../../manifest/input-schema.ts";
import type { CloseReason, Duplex } from "../../protocol/duplex.ts";
import { encodeFrame, type Frame, FrameDecoder } from "../../protocol/frame.ts";
import type { CallClient } from "../call.ts";
import { decodeAbort, decodeClient, decodeCredit } from "../call-codec.ts";
import { killDescendants } from "../kill-descendants.ts";
import { type CheckedExports, checkExports } from "../module-exports.ts";
import { clip, type LoadPayload, maxErrorText, type PreparePayload } from "../protocol.ts";
import { thrownText } from "../public-text.ts";
import { connectControl, controlDescriptor } from "../transport.ts";
import { BusyWait } from "./busy-wait.ts";
import { nameDestinations } from "./connect-errors.ts";
import { HostLog, redirectConsole } from "./console.ts";
import { dieWithParent } from "./die-with-parent.ts";
import { enterSandbox } from "./enter-sandbox.ts";
import { missingPermission } from "./missing-permission.ts";
import { ProcessTitle } from "./process-title.ts";
import { type HostedModule, RunningCall, stackOf } from "./running-call.ts";
import { installVerifiedLoader, warmUpLoader } from "./verified-loader.ts";

/**
 * The whole life of a module host, the process that runs one version of one module: loads the texts that the
 * server sends, answers calls, and ends when the server says so or hangs up. The command line is
 * `module-host SERVER_PID TRANSPORT TITLE`. Import nothing here that only the server needs:
 * every module would pay for it in start-up time and memory.
 */
export async function runModuleHost(): Promise<never> {
  // Done already where VeriPy's own entry points called it; an embedding program has only this one.
  enterSandbox();
  const [serverPid, transport] = process.argv.slice(3);
  const pipes = transport === "pipes";
  const yieldProcessor = dieWithParent(Number(serverPid), pipes ? undefined : controlDescriptor);
  const host = new Host(await connectControl(pipes), pipes, new BusyWait(yieldProcessor));
  return host.run();
}

class Host {
  readonly #duplex: Duplex;
  /** The control channel is the standard streams, so nothing else may use them. */
  readonly #pipes: boolean;
  /** Indexed by the numbers in `exec`. Replaced, never modified, because a call looks up its client later. */
  #clients: readonly CallClient[] = [];
  readonly #calls = new Map<number, RunningCall>();
  /** The server is trusted, and its frames carry whole module trees. */
  readonly #decoder = new FrameDecoder(Number.MAX_SAFE_INTEGER);
  #isLoading = false;
  #module: HostedModule | undefined;
  #killGraceMs = 0;
  readonly #log = new HostLog((ref, json) => this.#send("log", ref, json));
  readonly #title = new ProcessTitle();
  readonly #busyWait: BusyWait;
  #ending = false;
  #exiting = false;

  constructor(duplex: Duplex, pipes: boolean, busyWait: BusyWait) {
    this.#duplex = duplex;
    this.#pipes = pipes;
    this.#busyWait = busyWait;
  }

  run(): Promise<never> {
    redirectConsole(this.#log, this.#pipes);
    this.#watchForLateErrors();
    this.#duplex.attach({
      data: (chunk) => this.#decoder.push(chunk, this.#frame),
      closed: (reason) => this.#hungUp(reason),
    });
    process.on("exit", () => {
      this.#exiting = true;
      // What was written in this turn, such as the last log lines, is sent first.
      this.#duplex.close();
      killDescendants(process.pid);
    });
    // The rest happens in events, and the process ends by process.exit.
    return new Promise<never>(() => {});
  }

  readonly #frame = (frame: Frame): void => {
    switch (frame.type) {
      case "exec":
        this.#exec(frame);
        return;
      case "abort":
        this.#send("aborting", frame.ref, "{}");
        this.#calls.get(frame.refNumber)?.abort(decodeAbort(frame));
        return;
      case "credit":
        this.#calls.get(frame.refNumber)?.credit(decodeCredit(frame));
        return;
      case "client": {
        const { number, client } = decodeClient(frame);
        this.#clients = Object.assign([...this.#clients], { [number]: client });
        return;
      }
      case "stop":
        this.#stop();
        return;
      case "prepare":
        setImmediate(() => void this.#prepare(JSON.parse(frame.json) as PreparePayload));
        return;
      case "load":
        void this.#load(JSON.parse(frame.json) as LoadPayload);
        return;
    }
  };

  #exec(frame: Frame): void {
    const module = this.#module;
    if (module === undefined) return;
    this.#busyWait.callCame();
    const call = new RunningCall(module, frame, this.#clients);
    this.#calls.set(frame.refNumber, call);
    call.run();
  }

  /** Does nothing if the module is being loaded already. */
  async #prepare({ root }: PreparePayload): Promise<void> {
    if (this.#isLoading) return;
    this.#title.prepare();
    await warmUpLoader(root).catch(() => {});
  }

  async #load(payload: LoadPayload): Promise<void> {
    this.#isLoading = true;
    this.#killGraceMs = payload.killGraceMs;
    this.#log.open(payload.limits.maxLogLinesPerSecond);
    const { mod, tree } = payload;
    this.#title.set(payload.title, mod);
    try {
      const compileInput = await loadInputCompiler(payload);
      const load = installVerifiedLoader(payload);
      if (payload.permissions !== undefined) nameDestinations();
      const exports = checkExports(mod, await load(mod));
      const checkInput = inputCheck(mod, exports, compileInput);
      this.#module = {
        mod,
        tree,
        root: payload.root,
        execute: exports.execute,
        checkInput,
        limits: payload.limits,
        permissions: payload.permissions,
        send: (type, ref, json) => this.#send(type, ref, json),
        // The answer of the only call is sent at once. Others wait for the end of the turn, so the server wakes up once.
        sendLine: (line) => this.#duplex.write(line, this.#calls.size > 1),
        log: (level, text, ref) => this.#log.write(level, text, ref),
        forget: (ref) => this.#forget(ref),
      };
      const { desc, input, limits, permissions } = exports;
      this.#send("ready", "0", JSON.stringify({ desc, input, limits, permissions }));
    } catch (error) {
      this.#send(
        "failed",
        "0",
        JSON.stringify({ error: clip(describeLoadError(payload, error), maxErrorText) }),
      );
      this.#exitSoon(1);
    }
  }

  /**
   * An unhandled rejection is only logged: it usually belongs to something started on the side, and does no harm to the
   * calls in flight. An uncaught exception in a timer or an event handler may leave state half changed that later calls
   * use. So the process ends, the server tells the callers why, and the next call gets a new process.
   */
  #watchForLateErrors(): void {
    process.on("unhandledRejection", (reason) => {
      this.#log.write("error", `Unhandled promise rejection: ${stackOf(reason)}`);
    });
    process.on("uncaughtException", (error) => {
      if (this.#ending) return;
      this.#ending = true;
      this.#log.write("error", `Uncaught exception: ${stackOf(error)}`);
      // Before there is a module, the server removes the path of mods/ from what it tells clients.
      const text = `uncaught exception: ${this.#textOf(error)}`;
      this.#send("fatal", "0", JSON.stringify({ error: clip(text, maxErrorText) }));
      this.#exitSoon(1);
    });
  }

  #textOf(error: unknown): string {
    if (this.#module === undefined) return messageOf(error);
    const { mod, permissions, root } = this.#module;
    return missingPermission(mod, permissions, error) ?? thrownText(error, root);
  }

  /** Exits after what was written in this turn has been sent. */
  #exitSoon(code: number): void {
    setImmediate(() => process.exit(code));
  }

  #hungUp(reason: CloseReason): void {
    if (this.#exiting) return;
    // The fault is in this process. Its standard error goes to the server's log.
    if (reason !== undefined) process.stderr.write(`${stackOf(reason.cause ?? reason)}\n`);
    this.#stop();
  }

  /** The server has gone or wants this process to end. Calls get some time to clean up. */
  #stop(): void {
    this.#ending = true;
    if (this.#calls.size === 0) process.exit(0);
    for (const call of [...this.#calls.values()]) call.abort("The server is stopping this module.");
    setTimeout(() => process.exit(0), this.#killGraceMs);
  }

  #forget(ref: number): void {
    this.#calls.delete(ref);
    if (this.#calls.size === 0) this.#busyWait.becameIdle();
    if (this.#ending && this.#calls.size === 0) process.exit(0);
  }

  #send(type: string, ref: string, json: string): void {
    this.#duplex.write(encodeFrame("host", type, ref, json));
  }
}

type CompileInput = (mod: string, input: Record<string, unknown>) => InputCheck;

/**
 * Loads the schema library before the verified loader refuses every file that is not the module's, but only if some
 * file of the module might export an `input`.
 */
async function loadInputCompiler(payload: LoadPayload): Promise<CompileInput | undefined> {
  if (!Object.values(payload.files).some((text) => /\binput\b/.test(text))) return undefined;
  return (await import("../../manifest/input-schema.ts")).compileInput;
}

function inputCheck(
  mod: string,
  { input }: CheckedExports,
  compileInput: CompileInput | undefined,
): InputCheck | undefined {
  if (input === undefined) return undefined;
  if (compileInput === undefined)
    throw new VeripyError(
      "bad_module",
      `${mod} must write the name of its export 'input' without escape sequences.`,
    );
  return compileInput(mod, input);
}

/** One sentence with the file's name and, for a syntax error, the position if Bun reports it. */
function describeLoadError({ mod, permissions }: LoadPayload, error: unknown): string {
  if (error instanceof VeripyError) return error.message;
  const missing = missingPermission(mod, permissions, error);
  if (missing !== undefined) return missing;
  const { position } = error as { position?: { file?: string; line?: number; column?: number } | null };
  const place = position?.line === undefined ? "" : ` at line ${position.line}, column ${position.column}`;
  return `${mod} does not load: ${messageOf(error)}${place}`;
}
