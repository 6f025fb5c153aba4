import { messageOf, VeripyError } from "../base/errors.ts";
import type { Limits } from "../base/limits.ts";
import { descriptionFault, inputFault, noExecute } from "../manifest/export-faults.ts";
import type { ModuleLimits } from "../manifest/module-limits.ts";
import type { Execute } from "./api.ts";

/** A module's exports after the check: what it runs, and what the server is told of it. */
export interface CheckedExports {
  readonly execute: Execute;
  readonly desc: string | undefined;
  readonly input: Record<string, unknown> | undefined;
  /** As exported: the server compares them with the module's source, which it has checked. */
  readonly limits: unknown;
  readonly permissions: unknown;
}

type TightenedLimit = Exclude<keyof ModuleLimits, "resident">;

/** The server's limits that a module may tighten. */
const tightenedLimits: readonly TightenedLimit[] = [
  "execMs",
  "maxCallsInFlight",
  "maxCallsQueued",
  "maxResultBytes",
  "maxPartBytes",
  "maxModuleMemoryBytes",
  "maxLogLinesPerSecond",
];

const GeneratorFunction = function* () {}.constructor as FunctionConstructor;

/** Throws `bad_module` with a sentence that begins with the module's name. */
export function checkExports(mod: string, exports: Record<string, unknown>): CheckedExports {
  const { execute, description, input, limits, permissions } = exports;
  if (execute === undefined) {
    const functions = Object.keys(exports).filter((name) => typeof exports[name] === "function");
    throw new VeripyError("bad_module", noExecute(mod, functions));
  }
  if (typeof execute !== "function")
    throw bad(mod, `must export 'execute' as a function, not as ${kindOf(execute)}.`);
  if (/^class\b/.test(Function.prototype.toString.call(execute)))
    throw bad(mod, "must export 'execute' as a function, not as a class.");
  // Every call would fail.
  if (execute instanceof GeneratorFunction)
    throw bad(mod, "must export 'execute' as an async generator. Write: export async function* execute(…)");
  const fault = description === undefined ? undefined : descriptionFault(description);
  if (fault !== undefined) throw new VeripyError("bad_module", `${mod}: ${fault}`);
  return {
    execute: execute as Execute,
    desc: description as string | undefined,
    input: checkInput(mod, input),
    limits,
    permissions,
  };
}

/** A plain JSON copy: what the module does to its object later changes nothing. */
function checkInput(mod: string, input: unknown): Record<string, unknown> | undefined {
  if (input === undefined) return undefined;
  let fault: string | undefined;
  try {
    fault = inputFault(input);
  } catch (error) {
    fault = `'input' cannot be written as JSON: ${messageOf(error)}.`;
  }
  if (fault !== undefined) throw new VeripyError("bad_module", `${mod}: ${fault}`);
  return JSON.parse(JSON.stringify(input)) as Record<string, unknown>;
}

/** The limits with those that a module sets tighter. */
export function tightenLimits(limits: Readonly<Limits>, tighter: ModuleLimits): Readonly<Limits> {
  const tightened: Partial<Limits> = {};
  for (const name of tightenedLimits) {
    const [limit, asked] = [limits[name], tighter[name]];
    const isUnlimited = name === "maxModuleMemoryBytes" && limit === 0;
    if (asked !== undefined && (isUnlimited || asked < limit)) tightened[name] = asked;
  }
  return { ...limits, ...tightened };
}

function bad(mod: string, what: string): VeripyError {
  return new VeripyError("bad_module", `${mod} ${what}`);
}

/** `a number`, `null`, `an array`: for messages about a value of the wrong type. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return "an array";
  if (value instanceof Uint8Array) return "bytes";
  const kind = typeof value;
  return kind === "object" ? "an object" : `a ${kind}`;
}
