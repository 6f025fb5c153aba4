import type { Command } from "commander";
import { text } from "../text.ts";
import { printAll } from "../ui.ts";
import { Completer, type CompletionSources } from "./completer.ts";

/** The word with which the scripts ask for candidates: `veripy-client __complete bash 1 exec hel`. */
export const completeWord = "__complete";

/**
 * Answers a completion script: `SHELL INDEX WORD…`, where the word at INDEX is being typed, and is empty if it is missing.
 * Prints `:files` or `:folders` for what the shell lists itself, or else a candidate a line, with a tab and a description.
 * A name that a shell would not take as it stands is left out, so that no script has to quote.
 */
export async function answerCompletion(
  program: Command,
  [shell, index, ...words]: readonly string[],
  sources: CompletionSources,
): Promise<void> {
  const typed = shell === "bash" ? words.map(unquoted) : words;
  const at = Number(index);
  const completion = await new Completer(program, sources).complete(typed.slice(0, at), typed[at] ?? "");
  if (completion.kind !== "words") {
    printAll([text`:${completion.kind}`]);
    return;
  }
  const candidates = completion.words.filter(({ value }) => isPlain(value));
  printAll(
    candidates.map(({ value, description }) =>
      description === undefined ? text`${value}` : text`${value}\t${description}`,
    ),
  );
}

/** Whether it means the same in all four shells, and has nothing in it that can't be seen. */
function isPlain(word: string): boolean {
  return /^[\p{L}\p{N}_.+:@/=-]+$/u.test(word);
}

/** Bash hands words over as they were typed, perhaps without the closing quote. Nothing in them is evaluated. */
function unquoted(word: string): string {
  return word.replaceAll(/\\(.)|["']/gs, "$1");
}
