import type { z } from "zod";
import type { moduleStats } from "../../src/protocol/messages.ts";
import type { Running } from "./processes.ts";
import type { Site } from "./site.ts";

/** The lines of a module that the server has logged so far. The server must run with `--json`. */
export function printedBy(server: Running, mod: string): string[] {
  return server.stderr.flatMap((line) => {
    const record = JSON.parse(line) as { logger: string; mod?: string; text?: string };
    const isOurs = record.logger === "veripy.module" && record.mod === mod;
    return isOurs && record.text !== undefined ? record.text : [];
  });
}

type StatsRecord = z.input<typeof moduleStats>;

/** What `veripy-client modules --json` says about a module's current version. */
export async function statsOf(site: Site, mod: string): Promise<StatsRecord> {
  const { stdout, stderr } = await site.call(["modules", "--json"]);
  const all = stdout.split("\n").flatMap((line) => (line === "" ? [] : (JSON.parse(line) as StatsRecord)));
  const found = all.find((one) => one.mod === mod && one.current);
  if (found === undefined) throw new Error(`There is no ${mod} in:\n${stdout}${stderr}`);
  return found;
}
