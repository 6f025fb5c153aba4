import { messageOf, VeripyError } from "../base/errors.ts";
import { isDeeperThan } from "../base/json-depth.ts";
import type { Limits } from "../base/limits.ts";
import { maxDescription, maxInputDepth, maxInputSchema } from "../manifest/description-limits.ts";
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
  if (execute === undefined)
    throw bad(
      mod,
      `exports no function 'execute'${hint(exports)}. Write: export async function execute(args: string): Promise<string> { … }`,
    );
  if (typeof execute !== "function")
    throw bad(mod, `must export 'execute' as a function, not as ${kindOf(execute)}.`);
  if (/^class\b/.test(Function.prototype.toString.call(execute)))
    throw bad(mod, "must export 'execute' as a function, not as a class.");
  // Every call would fail.
  if (execute instanceof GeneratorFunction)
    throw bad(mod, "must export 'execute' as an async generator. Write: export async function* execute(…)");
  if (description !== undefined && typeof description !== "string")
    throw bad(mod, `must export 'description' as a string, not as ${kindOf(description)}.`);
  if (typeof description === "string" && description.length > maxDescription)
    throw bad(
      mod,
      `exports a 'description' of ${description.length} characters, the limit is ${maxDescription}.`,
    );
  return {
    execute: execute as Execute,
    desc: description,
    input: checkInput(mod, input),
    limits,
    permissions,
  };
}

function hint(exports: Record<string, unknown>): string {
  if (typeof exports.default === "function") return ", but a function as default";
  const names = Object.keys(exports).filter((name) => typeof exports[name] === "function");
  return names.length === 0 ? "" : `, but ${names.slice(0, 3).join(", ")}`;
}

/** A plain JSON copy: what the module does to its object later changes nothing. */
function checkInput(mod: string, input: unknown): Record<string, unknown> | undefined {
  if (input === undefined) return undefined;
  if (typeof input !== "object" || input === null || Array.isArray(input))
    throw bad(mod, `must export 'input' as a JSON Schema object, not as ${kindOf(input)}.`);
  let json: string;
  try {
    json = JSON.stringify(input);
  } catch (error) {
    throw bad(mod, `exports an 'input' that cannot be written as JSON: ${messageOf(error)}.`);
  }
  if (json.length > maxInputSchema)
    throw bad(
      mod,
      `exports an 'input' of ${json.length} characters as JSON, the limit is ${maxInputSchema}.`,
    );
  if (isDeeperThan(json, maxInputDepth))
    throw bad(mod, `exports an 'input' that nests deeper than ${maxInputDepth} levels, the limit.`);
  return JSON.parse(json) as Record<string, unknown>;
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
