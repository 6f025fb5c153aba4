import { didYouMean, type VeripyClient, VeripyError, type WatchEvent, watchModules } from "../index.ts";
import { withArgumentTable } from "./argument-table.ts";
import type { ClientOptions } from "./client-options.ts";
import { ClientOutput } from "./client-output.ts";
import { ExecOutput } from "./exec-output.ts";
import { moduleName } from "./flag-values.ts";
import { LineEditor } from "./line-editor.ts";
import { callModule } from "./module-call.ts";
import { scriptLines } from "./script-lines.ts";
import { checkOperands, commandsOutside, type ShellContext, shellCommands } from "./shell-commands.ts";
import { complete } from "./shell-completion.ts";
import { ShellHistory } from "./shell-history.ts";
import { splitWords } from "./shell-words.ts";
import { leaveInterrupted, onInterrupt } from "./signals.ts";
import { text } from "./text.ts";
import { canAsk, exitCodes, note, reportFailure } from "./ui.ts";

/**
 * Runs lines until the input ends or one says `exit`. On a terminal, a line that fails does not end the shell. Elsewhere the
 * input is a script, which ends there. Resolves with the exit code.
 */
export async function shell(client: VeripyClient, given: ClientOptions): Promise<number> {
  const context: ShellContext = { client, given, history: new ShellHistory(given.home) };
  return canAsk() ? converse(context) : runScript(context);
}

async function runScript(context: ShellContext): Promise<number> {
  const { signal } = new AbortController();
  for await (const [number, line] of scriptLines()) {
    try {
      const exitCode = await runLine(context, line, signal);
      if (exitCode === undefined) break;
      if (exitCode !== exitCodes.ok) {
        note`The script stopped at line ${number}, with exit code ${exitCode}.`;
        return exitCode;
      }
    } catch (error) {
      if (!(error instanceof VeripyError)) throw error;
      const { code, message, started } = error;
      throw new VeripyError(code, `Line ${number}: ${message}`, { cause: error, started });
    }
  }
  return exitCodes.ok;
}

async function converse(context: ShellContext): Promise<number> {
  const { client, given, history } = context;
  const json = given.json ?? false;
  let running: AbortController | undefined;
  const editor = new LineEditor({
    prompt: text`${given.host}> `,
    history: await history.read().catch(noteFailure),
    complete: (line) => complete(line, completionSource(client)),
    onInterrupt: () => {
      // The second time, it does not end, or not soon enough.
      if (running?.signal.aborted) leaveInterrupted();
      running?.abort();
    },
  });
  onInterrupt(() => editor.interrupt());
  announce(client, json);
  try {
    while (true) {
      const line = await editor.next();
      if (line === undefined) return exitCodes.ok;
      running = new AbortController();
      try {
        await history.add(line).catch(noteFailure);
        if ((await runLine(context, line, running.signal)) === undefined) return exitCodes.ok;
      } catch (error) {
        if (running.signal.aborted) note`Cancelled.`;
        else reportFailure(error, json);
      } finally {
        running = undefined;
      }
    }
  } finally {
    editor.close();
  }
}

/** Resolves with the exit code; with undefined, the shell ends. */
async function runLine(
  context: ShellContext,
  line: string,
  signal: AbortSignal,
): Promise<number | undefined> {
  const [name, ...operands] = splitWords(line);
  if (name === undefined) return exitCodes.ok;
  if (commandsOutside.includes(name) && !isModule(context.client, name))
    throw new VeripyError(
      "bad_config",
      `'${name}' is not a command of the shell. Type 'veripy-client ${name}' in another terminal; this shell sees at once what was decided.`,
    );
  const command = shellCommands.get(name);
  try {
    if (command === undefined) return await call(context, name, operands, signal);
    checkOperands(name, command, operands);
    return await cancellable(command.run(context, operands), signal);
  } catch (error) {
    throw withSuggestion(error, context.client, command === undefined ? [name] : operands);
  }
}

async function call(
  { client, given }: ShellContext,
  mod: string,
  words: readonly string[],
  signal: AbortSignal,
): Promise<number> {
  if (!moduleName.safeParse(mod).success)
    throw new VeripyError(
      "bad_config",
      `'${mod}' is neither a command nor a module. 'help' lists the commands.`,
    );
  const output = await ExecOutput.open({ json: given.json });
  try {
    await callModule(client, mod, words, output, { timeoutMs: given.timeout, signal });
    return exitCodes.ok;
  } catch (error) {
    throw given.json ? error : withArgumentTable(error);
  } finally {
    output.close();
  }
}

/** The shell goes on after Ctrl-C even if a command can't be stopped; each of its requests has a deadline. */
function cancellable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  signal.addEventListener("abort", () => reject(new VeripyError("cancelled", "The command was cancelled.")));
  return Promise.race([work, promise]);
}

/** Says above the line that is being typed what changes at the server. */
function announce(client: VeripyClient, json: boolean): void {
  const output = new ClientOutput(json, client.approvals);
  let problem: string | undefined;
  const onEvent = (event: WatchEvent) => {
    // What every connection says anyway.
    if (event.event === "rotate" || event.event === "rotate_refused") return;
    if (event.event === "disconnected") {
      // The same for each attempt, until one succeeds.
      if (event.reason.message === problem) return;
      problem = event.reason.message;
    } else if (event.event === "reconnected") problem = undefined;
    output.event(event);
  };
  void watchModules(client, onEvent, { verify: false });
}

function completionSource(client: VeripyClient) {
  const { approvals, reports } = client;
  const commands = [...shellCommands];
  return {
    commands: commands.map(([name]) => name),
    moduleCommands: commands.filter(([, { takesModules }]) => takesModules).map(([name]) => name),
    modules: [...reports.keys()],
    input: (mod: string) => {
      const name = approvals.nameOf(mod);
      const approved = approvals.approved(name);
      return approved === undefined ? reports.get(name)?.input : approved.input;
    },
  };
}

function isModule({ approvals, reports }: VeripyClient, name: string): boolean {
  return reports.has(approvals.nameOf(name));
}

function withSuggestion(error: unknown, client: VeripyClient, names: readonly string[]): unknown {
  if (!(error instanceof VeripyError) || error.code !== "not_found") return error;
  const known = [...shellCommands.keys(), ...client.reports.keys()];
  const wrong = names.filter((name) => !isModule(client, name));
  const message = [error.message, ...wrong.map((name) => didYouMean(name, known))].join(" ").trimEnd();
  return new VeripyError("not_found", message, { cause: error, started: error.started });
}

function noteFailure(error: unknown): string[] {
  note`${error instanceof VeripyError ? error.message : String(error)}`;
  return [];
}
