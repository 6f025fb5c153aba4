import { VeripyError } from "../index.ts";

/**
 * The words of a line, split as a POSIX shell does it: at spaces and tabs, with '…', "…" and \ as quotes, and # before a
 * word as the beginning of a comment. Nothing is expanded. Throws `bad_config` for a quote that is not closed. Pure.
 */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let rest = line;
  while (rest !== "" && !(word === undefined && rest.startsWith("#"))) {
    const [token = "", blank, single, double, escaped] = tokens.exec(rest) ?? [];
    rest = rest.slice(token.length);
    if (blank === undefined)
      word = (word ?? "") + (single ?? double?.replaceAll(/\\([$`"\\])/g, "$1") ?? escaped ?? plain(token));
    else if (word !== undefined) {
      words.push(word);
      word = undefined;
    }
  }
  return word === undefined ? words : [...words, word];
}

/** Whether a word can be typed as it is, without quotes. Pure. */
export function isPlainWord(word: string): boolean {
  return word !== "" && !/[\s'"\\]|^#/.test(word);
}

/** Blanks, '…', "…", \ with the character after it, several characters without meaning, or any one. */
const tokens = /^(?:([ \t]+)|'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|[^ \t'"\\]+|.)/su;

function plain(token: string): string {
  if (token !== "'" && token !== '"' && token !== "\\") return token;
  throw new VeripyError(
    "bad_config",
    token === "\\" ? "The line ends with a \\ that quotes nothing." : `The quote ${token} is not closed.`,
  );
}
