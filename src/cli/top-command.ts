import { type Command, Option } from "commander";
import { withClient } from "./client-connection.ts";
import { optionsOf } from "./client-options.ts";
import { duration, parsed } from "./flag-values.ts";
import { checkTop, type TopFlags, top } from "./top.ts";

const help = `
Keys: c sorts by calls per second, m by memory, p by p99, f by calls in flight, n by name; r reverses the order, q quits.
Columns that a narrow terminal has no room for are left out.`;

const leastIntervalMs = 100;

/** Adds `veripy-client top`. */
export function addTopCommand(connectingCommand: (name: string, description: string) => Command): void {
  connectingCommand("top", "show what the modules do, in a table that is redrawn")
    .option("--once", "print the table once, after one interval; also into a pipe or a file")
    .addOption(
      new Option("--interval <duration>", "time between two tables")
        .argParser(
          parsed(
            duration.refine((ms) => ms >= leastIntervalMs && ms <= 3_600_000, "It must be from 100ms to 1h."),
          ),
        )
        .default(1_000, "1s"),
    )
    .addHelpText("after", help)
    .action(async (flags: TopFlags, self: Command) => {
      const given = await optionsOf(self);
      checkTop(given, flags);
      await withClient(given, (client) => top(client, given, flags), { reconnect: !flags.once });
    });
}
