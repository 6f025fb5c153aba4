import { messageOf, VeripyError } from "../../base/errors.ts";
import type { CloseReason, Duplex } from "../../protocol/duplex.ts";
import { encodeFrame, type Frame, FrameDecoder } from "../../protocol/frame.ts";
import type { CallClient } from "../call.ts";
import { killDescendants } from "../kill-descendants.ts";
import { type CheckedExports, checkExports } from "../module-exports.ts";
import { clip, type LoadPayload, maxErrorText, type PreparePayload } from "../protocol.ts";
import { thrownText } from "../public-text.ts";
import { connectControl, controlDescriptor } from "../transport.ts";
import { BusyWait } from "./busy-wait.ts";
import { HostLog, redirectConsole } from "./console.ts";
import { dieWithParent } from "./die-with-parent.ts";
import type { InputCheck } from "./input-schema.ts";
import { HostTitle } from "./process-title.ts";
import { HostedCall, type HostedModule, stackOf } from "./running-call.ts";
import { installVerifiedLoader, warmUpLoader } from "./verified-loader.ts";

/**
 * The whole life of a module host, the process that runs one version of one module: loads the texts that the
 * server sends, answers calls, and ends when the server says so or hangs up. The command line is
 * `module-host SERVER_PID TRANSPORT TITLE`. Nothing the server alone needs may be imported from here: every module pays
 * for it in start-up time and memory.
 */
export async function runModuleHost(): Promise<never> {
  const [serverPid, transport] = process.argv.slice(3);
  const pipes = transport === "pipes";
  const yieldProcessor = dieWithParent(Number(serverPid), pipes ? undefined : controlDescriptor);
  const host = new Host(await connectControl(pipes), pipes, new BusyWait(yieldProcessor));
  return host.run();
}

class Host {
  readonly #duplex: Duplex;
  /** Without a socket of its own, the control channel takes the standard streams; nothing else may use them. */
  readonly #pipes: boolean;
  /** By the numbers that `exec` names them by. Replaced, never changed: a call looks its client up later. */
  #clients: readonly CallClient[] = [];
  readonly #calls = new Map<number, HostedCall>();
  /** The server is trusted, and its frames carry whole module trees. */
  readonly #decoder = new FrameDecoder(Number.MAX_SAFE_INTEGER);
  #isLoading = false;
  #module: HostedModule | undefined;
  #killGraceMs = 0;
  readonly #log = new HostLog((ref, json) => this.#send("log", ref, json));
  readonly #title = new HostTitle();
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
      // What was said in this turn, the log's last lines for one, leaves first.
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
        this.#calls.get(frame.refNumber)?.abort((JSON.parse(frame.json) as { reason: string }).reason);
        return;
      case "grant":
        this.#calls.get(frame.refNumber)?.grant((JSON.parse(frame.json) as { parts: number }).parts);
        return;
      case "client":
        this.#clients = Object.assign([...this.#clients], { [frame.ref]: JSON.parse(frame.json) });
        return;
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
    const call = new HostedCall(module, frame, this.#clients);
    this.#calls.set(frame.refNumber, call);
    call.run();
  }

  /** Not when the module has come meanwhile: it has waited for this process to start. */
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
      const exports = checkExports(mod, await load(mod));
      const checkInput = inputCheck(mod, exports, compileInput);
      this.#module = {
        mod,
        tree,
        root: payload.root,
        execute: exports.execute,
        checkInput,
        limits: tightenHostLimits(payload.limits, exports.limits),
        send: (type, ref, json) => this.#send(type, ref, json),
        // The answer of the only call goes at once; among others, the server would be woken for each chunk of them.
        sendLine: (line) => this.#duplex.write(line, this.#calls.size > 1),
        log: (level, text, ref) => this.#log.write(level, text, ref),
        forget: (ref) => this.#forget(ref),
      };
      const { desc, input, limits } = exports;
      this.#send("ready", "0", JSON.stringify({ desc, input, limits }));
    } catch (error) {
      this.#send("failed", "0", JSON.stringify({ error: clip(describeLoadError(mod, error), maxErrorText) }));
      this.#exitSoon(1);
    }
  }

  /**
   * A rejected promise that nobody awaits is logged, and that is all: it is a value that was not looked at, mostly
   * of something started on the side, and the calls in flight are no worse for it. An exception that leaves a timer
   * or an event handler is different: what it was in the middle of stays half done, in memory that later calls use.
   * So the process ends, the server says why, and the next call gets a fresh one.
   */
  #watchForLateErrors(): void {
    process.on("unhandledRejection", (reason) => {
      this.#log.write("error", `A promise was rejected that nobody handles: ${stackOf(reason)}`);
    });
    process.on("uncaughtException", (error) => {
      if (this.#ending) return;
      this.#ending = true;
      this.#log.write("error", `An exception was not caught: ${stackOf(error)}`);
      // Before there is a module, the server takes the place of mods/ out of what it tells clients.
      const root = this.#module?.root;
      const thrown = root === undefined ? messageOf(error) : thrownText(error, root);
      const text = `an exception was not caught: ${thrown}`;
      this.#send("fatal", "0", JSON.stringify({ error: clip(text, maxErrorText) }));
      this.#exitSoon(1);
    });
  }

  /** What was sent in this turn leaves first. */
  #exitSoon(code: number): void {
    setImmediate(() => process.exit(code));
  }

  #hungUp(reason: CloseReason): void {
    if (this.#exiting) return;
    // Not the server's doing but a fault of this process; standard error reaches the server's log.
    if (reason !== undefined) process.stderr.write(`${stackOf(reason.cause ?? reason)}\n`);
    this.#stop();
  }

  /** The server is gone or wants this process to end; calls get a moment to tidy up. */
  #stop(): void {
    this.#ending = true;
    if (this.#calls.size === 0) process.exit(0);
    for (const call of [...this.#calls.values()]) call.abort("The server stops this module.");
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
 * The schema library is loaded before the verified loader refuses every file that is not the module's, and only
 * when some file of the module might export an `input`.
 */
async function loadInputCompiler(payload: LoadPayload): Promise<CompileInput | undefined> {
  if (!Object.values(payload.files).some((text) => /\binput\b/.test(text))) return undefined;
  return (await import("./input-schema.ts")).compileInput;
}

function inputCheck(
  mod: string,
  { input }: CheckedExports,
  compileInput: CompileInput | undefined,
): InputCheck | undefined {
  if (input === undefined) return undefined;
  if (compileInput === undefined)
    throw new VeripyError("bad_module", `${mod} must write the name of its export 'input' without escapes.`);
  return compileInput(mod, input);
}

function tightenHostLimits(
  limits: LoadPayload["limits"],
  tighter: CheckedExports["limits"],
): LoadPayload["limits"] {
  const least = (limit: number, asked: number | undefined) =>
    asked === undefined ? limit : Math.min(limit, asked);
  return {
    maxResultBytes: least(limits.maxResultBytes, tighter?.maxResultBytes),
    maxPartBytes: least(limits.maxPartBytes, tighter?.maxPartBytes),
    maxLogLinesPerSecond: least(limits.maxLogLinesPerSecond, tighter?.maxLogLinesPerSecond),
  };
}

/** One sentence with the file's name; for a syntax error the place, as far as Bun tells. */
function describeLoadError(mod: string, error: unknown): string {
  if (error instanceof VeripyError) return error.message;
  const { position } = error as { position?: { file?: string; line?: number; column?: number } | null };
  const place = position?.line === undefined ? "" : ` at line ${position.line}, column ${position.column}`;
  return `${mod} does not load: ${messageOf(error)}${place}`;
}
