import { certsFolder, findHome, readKnownServers, seenModules } from "../index.ts";
import { readClientSettings } from "./client-settings.ts";
import type { CompletionSources, TypedFlags } from "./completion/completer.ts";
import { configFolder, pathVariables } from "./environment.ts";

/** The names that complete a client's command line, from its files. A file that can't be read has no names. */
export const clientNames: CompletionSources = {
  defaultCommand: "watch",

  async hosts(typed) {
    const home = await homeOf(typed);
    const certs = typed.get("--certs") ?? pathVariables().certs ?? certsFolder(home);
    const named = await readClientSettings(home).catch(() => undefined);
    const known = await readKnownServers(certs).catch(() => undefined);
    return [...(named?.hosts.keys() ?? []), ...(known?.keys() ?? [])];
  },

  async modules(typed) {
    return seenModules(await homeOf(typed));
  },
};

function homeOf(typed: TypedFlags): Promise<string> {
  return findHome(typed.get("--home") ?? pathVariables().home, configFolder());
}
