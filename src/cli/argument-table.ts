import { ArgumentsError, argumentUsage, shellQuoted, VeripyError } from "../index.ts";
import { argumentRows } from "./argument-rows.ts";
import { table } from "./table.ts";

/** An error about a module's arguments, with the table of those that it takes. Any other error is returned as it is. */
export function withArgumentTable(error: unknown): unknown {
  if (!(error instanceof ArgumentsError)) return error;
  const rows = table(argumentRows(error.input)).map(({ plain }) => plain);
  return new VeripyError(error.code, [error.message, ...rows].join("\n"), { cause: error });
}

/** `Usage: veripy-client exec deploy env=STRING [dry_run=BOOLEAN]`, without escapes. */
export function execUsage(mod: string, input: Record<string, unknown> | undefined): string {
  const name = shellQuoted(mod.replace(/\.ts$/, ""));
  return ["Usage: veripy-client exec", name, ...argumentUsage(input)].join(" ");
}
