import { readdir } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { basename, dirname, join } from "node:path";
import { VeripyError } from "../base/errors.ts";
import { isThere } from "../base/files.ts";
import { type Limits, withDefaultLimits } from "../base/limits.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { Gate } from "../base/semaphore.ts";
import { didYouMean } from "../base/similar.ts";
import type { HostOptions } from "../host/parent/module-host.ts";
import { type CheckedModule, checkModule } from "../modules/check.ts";
import { isModuleName } from "../source/module-scanner.ts";

export interface CheckOptions {
  modsDir: string;
  /** Names (`hello.ts`, or `hello` for short), or paths of files in any folder. Empty: all of `modsDir`. */
  mods?: readonly string[];
  limits?: Partial<Limits>;
  hosts?: Partial<HostOptions>;
}

/**
 * Loads modules exactly as the server would and returns what is wrong with them, in the order they were named. Throws
 * `bad_config` when `modsDir` cannot be listed.
 */
export async function checkModules(options: CheckOptions): Promise<CheckedModule[]> {
  const limits = withDefaultLimits(options.limits);
  const version = { limits, hosts: options.hosts };
  const named = (options.mods ?? []).map((mod) => placeOf(mod, options.modsDir));
  const places = named.length > 0 ? named : await allOf(options.modsDir);
  const gate = new Gate(2 * availableParallelism());
  return Promise.all(
    places.map((place) =>
      gate.run(async () => withSuggestion(place, await checkModule(place.dir, place.mod, version))),
    ),
  );
}

interface Place {
  readonly dir: string;
  readonly mod: string;
}

/** A name that is not there may be a typing error. */
async function withSuggestion({ dir, mod }: Place, checked: CheckedModule): Promise<CheckedModule> {
  if (checked.ok || (await isThere(join(dir, mod)))) return checked;
  const names = await readdir(dir).catch(() => []);
  const suggestion = didYouMean(mod, names.filter(isModuleName));
  return { ...checked, problem: `${checked.problem} ${suggestion}`.trimEnd() };
}

function placeOf(mod: string, modsDir: string): Place {
  const name = basename(mod);
  return { dir: mod === name ? modsDir : dirname(mod), mod: isModuleName(name) ? name : `${name}.ts` };
}

async function allOf(dir: string): Promise<Place[]> {
  try {
    const names = (await readdir(dir)).filter(isModuleName).sort();
    return names.map((mod) => ({ dir, mod }));
  } catch (error) {
    throw new VeripyError("bad_config", `Cannot list the modules in ${dir}: ${reasonOf(error)}.`, {
      cause: error,
    });
  }
}
