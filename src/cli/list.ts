import { outputColumns } from "./screen.ts";
import { table } from "./table.ts";
import type { Value } from "./text.ts";
import { outputIsTerminal, printAll } from "./ui.ts";

/** Prints a list: on a terminal below a header and cut to its width, in a pipe the rows alone, and whole. */
export function printList(header: readonly string[], rows: readonly (readonly Value[])[]): void {
  printAll(table([...(outputIsTerminal() ? [header] : []), ...rows], outputColumns()));
}
