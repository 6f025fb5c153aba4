import type { Command } from "commander";
import { moduleDeclarations } from "../index.ts";
import { printData } from "./ui.ts";

/** Adds `veripy-server types`. */
export function addTypesCommand(program: Command): void {
  program
    .command("types")
    .description("print type declarations for modules: veripy-server types > veripy.d.ts")
    .action(() => printData(moduleDeclarations()));
}
