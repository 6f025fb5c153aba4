import { expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { hasProcfs, processesWith } from "../helpers/procfs.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";
import { Terminal } from "../helpers/terminal.ts";
import { eventually } from "../helpers/within.ts";

// The demo installs and builds first.
setDefaultTimeout(120_000);

const root = dirname(dirname(import.meta.dir));

const ctrlC = "\x03";
type Found = ReturnType<typeof processesWith>;
const endings: Record<string, (terminal: Terminal, found: Found) => Promise<unknown> | undefined> = {
  "Ctrl-C": async (terminal) => terminal.type(ctrlC),
  // 'npx' passes it on as well, so the demo may receive it twice.
  "Ctrl-C that arrives twice": async (terminal, found) => {
    // The client is stopped first. One that does not react keeps the demo busy stopping it.
    const client = found.find(({ command }) => command.includes("veripy-client"))?.pid ?? 0;
    process.kill(client, "SIGSTOP");
    terminal.type(ctrlC);
    await eventually("the first Ctrl-C to act", () => hasPending(client, 15));
    terminal.type(ctrlC);
  },
  "closing the terminal": async (terminal) => terminal.close(),
};

test.skipIf(!hasProcfs).each(Object.keys(endings))(
  "%s ends the demo and everything that it started",
  async (ending) => {
    await using here = await temporaryDirectory();
    const { CI: _, ...environment } = process.env as Record<string, string>;
    // Every process of the demo inherits this variable, which identifies it.
    const env = { ...environment, TMPDIR: here.path };
    const theirs = () => processesWith(`TMPDIR=${here.path}`);
    await using terminal = new Terminal([process.execPath, "run", "demo"], root, { env });
    await terminal.shows(/Both keep running until you press Ctrl-C/, 100_000);
    expect(theirs().filter(({ command }) => command.includes("veripy-server"))).not.toBeEmpty();

    await endings[ending]?.(terminal, theirs());
    await eventually("the end of all processes", () => theirs().length === 0, 15_000);
    expect(readdirSync(here.path)).toEqual([]);
  },
);

function hasPending(pid: number, signal: number): boolean {
  const mask = /^ShdPnd:\s+([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? "0";
  return (BigInt(`0x${mask}`) & (1n << BigInt(signal - 1))) !== 0n;
}
