import type { Argument, Command, Option } from "commander";

/** What a shell offers for the word that is being typed. */
export type Completion =
  | { readonly kind: "words"; readonly words: readonly Candidate[] }
  /** The shell lists them itself. */
  | { readonly kind: "files" | "folders" };

export interface Candidate {
  readonly value: string;
  readonly description?: string;
}

/** The values of flags that were typed before the word, by their long names: `--home`. */
export type TypedFlags = ReadonlyMap<string, string>;

/** What the definitions of a program's commands do not say. The names come from files. */
export interface CompletionSources {
  /** The default command. */
  readonly defaultCommand: string;
  hosts(typed: TypedFlags): Promise<readonly string[]>;
  modules(typed: TypedFlags): Promise<readonly string[]>;
}

const none: Completion = { kind: "words", words: [] };

/** Completes words from the definitions of a program's commands, from which its help pages are made too. */
export class Completer {
  readonly #program: Command;
  readonly #sources: CompletionSources;

  constructor(program: Command, sources: CompletionSources) {
    this.#program = program;
    this.#sources = sources;
  }

  /** Completes `current`, which stands behind the words `before`. */
  async complete(before: readonly string[], current: string): Promise<Completion> {
    const typed = new Map<string, string>();
    let command = this.#program;
    let operands = 0;
    let hasFlags = true;
    for (let index = 0; index < before.length; index++) {
      const word = before[index] ?? "";
      const [flag, value] = flagAndValue(word);
      const option = hasFlags ? this.#optionOf(command, flag) : undefined;
      if (option?.required) {
        if (value === undefined && index === before.length - 1) return this.#valueOf(option, typed, current);
        typed.set(option.long ?? flag, value ?? before[++index] ?? "");
      } else if (hasFlags && word === "--") hasFlags = false;
      else if (!hasFlags || !word.startsWith("-")) {
        const named = operands === 0 ? command.commands.find((one) => one.name() === word) : undefined;
        if (named === undefined) operands += 1;
        command = named ?? command;
      }
      // Everything behind a module's name goes to the module.
      if (command.name() === "exec" && operands > 0) return none;
    }
    if (hasFlags && current.startsWith("-")) return this.#flag(command, typed, current);
    if (command.commands.length > 0 && operands === 0) return startingWith(current, commandsOf(command));
    const argument = argumentAt(command, operands);
    if (argument === undefined) return none;
    return this.#named(argument.name(), argument.argChoices, typed, current);
  }

  /** A flag, or the value behind its `=`. */
  async #flag(command: Command, typed: TypedFlags, current: string): Promise<Completion> {
    const [flag, value] = flagAndValue(current);
    if (value === undefined) {
      const flags = this.#optionsOf(command).flatMap(({ long, description }) =>
        typeof long === "string" ? [{ value: long, description }] : [],
      );
      return startingWith(current, flags);
    }
    const option = this.#optionOf(command, flag);
    const found = option?.required ? await this.#valueOf(option, typed, value) : none;
    if (found.kind !== "words") return found;
    return { kind: "words", words: found.words.map((one) => ({ ...one, value: `${flag}=${one.value}` })) };
  }

  #valueOf({ flags, argChoices }: Option, typed: TypedFlags, current: string): Promise<Completion> {
    return this.#named(/<([^>]*)>/.exec(flags)?.[1] ?? "", argChoices, typed, current);
  }

  /** `name` is the placeholder on the help page: `<file>`, `<host[:port]>`. */
  async #named(
    name: string,
    choices: readonly string[] | undefined,
    typed: TypedFlags,
    current: string,
  ): Promise<Completion> {
    if (choices !== undefined) return startingWith(current, valuesOf(choices));
    if (name.startsWith("file")) return { kind: "files" };
    if (name.startsWith("folder")) return { kind: "folders" };
    const isHost = name.startsWith("host");
    if (!isHost && !name.startsWith("mod")) return none;
    const names = await (isHost ? this.#sources.hosts(typed) : this.#sources.modules(typed));
    // A name that somebody else gave must not become a flag.
    return startingWith(current, valuesOf(names.filter((one) => !one.startsWith("-"))));
  }

  #optionOf(command: Command, flag: string): Option | undefined {
    if (!flag.startsWith("-")) return undefined;
    return this.#optionsOf(command).find(({ short, long }) => short === flag || long === flag);
  }

  #optionsOf(command: Command): readonly Option[] {
    const { defaultCommand } = this.#sources;
    const isMeant = (one: Command) => command === this.#program && one.name() === defaultCommand;
    const help = command.createHelp();
    const options = [command, ...command.commands.filter(isMeant)].flatMap((one) => help.visibleOptions(one));
    return options.filter(({ long }, index) => options.findIndex((one) => one.long === long) === index);
  }
}

/** `--flag=value` is both. A short flag has its value behind a blank. */
function flagAndValue(word: string): [flag: string, value: string | undefined] {
  const [, flag, value] = /^(--[^=]+)=(.*)$/s.exec(word) ?? [];
  return [flag ?? word, value];
}

function valuesOf(values: readonly string[]): Candidate[] {
  return values.map((value) => ({ value }));
}

function startingWith(current: string, words: readonly Candidate[]): Completion {
  return { kind: "words", words: words.filter(({ value }) => value.startsWith(current)) };
}

function commandsOf(command: Command): Candidate[] {
  const commands = command.createHelp().visibleCommands(command);
  return commands.map((one) => ({ value: one.name(), description: one.description() }));
}

/** The last one may be repeated: `[mod...]`. */
function argumentAt({ registeredArguments }: Command, index: number): Argument | undefined {
  const last = registeredArguments.at(-1);
  return registeredArguments[index] ?? (last?.variadic ? last : undefined);
}
