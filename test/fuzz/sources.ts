import { VeripyError } from "../../src/base/errors.ts";
import { readManifest } from "../../src/manifest/manifest.ts";
import type { Random } from "./random.ts";
import type { Report } from "./report.ts";

/** No source of these sizes may take longer to read. */
const allowedMs = 2_000;

const entries: readonly string[] = [
  `import type { ModuleContext } from "veripy";
import { readFile } from "node:fs/promises";
import { words } from "./lib/words.ts";
export const description = \`Reads \${"x"}\`;
export const input = { type: "object", properties: { n: { type: "integer", default: -1 } }, required: ["n"] } as const;
export const limits = { execMs: 1_000, retain: 0, resident: true };
export const permissions = { read: ["/var/log"], run: ["git"], connect: [443, 0x50] } as const satisfies object;
export async function* execute(args: string, { signal }: ModuleContext): AsyncGenerator<string> { yield args + words; }
`,
  `export * from "./lib/words.ts";
export { execute, permissions as permissions } from "./lib/words.ts";
export default class<T extends object> { @tag accessor x = 1; static { using y = z!; } declare q: number; }
`,
  `enum E { a = 1, b } namespace N { export const x = <T,>(y: T) => y as unknown as E; }
export const permissions = "all";
export const execute = (args: string) => /[/\\]](?<n>a)/u.test(args) ? \`\${\`\${args}\`}\` : import("./lib/words.ts");
const m = require("fs"); abstract class A { abstract b(): asserts this is string }
`,
];
const library = `import data from "./data.json" with { type: "json" };
export const words = "words", permissions = { write: ["/srv", "C:\\\\srv"], listen: [8080] };
export function execute() { return JSON.stringify(data); }
`;
const data = '{"a":[1,2,{"b":null}],"__proto__":{"c":"\\ud800"}}';

/** What TypeScript has and a parser may stumble over. */
const pieces: readonly string[] = [
  ..."{}[]()<>,;:=.?!`'\"\\/*#@&|+-~^%$\n",
  ...[
    "\u0000",
    "\u2028",
    "\ufeff",
    "\ud800",
    "\u{1f600}",
    "\r",
    "//",
    "/*",
    "*/",
    "<!--",
    "${",
    "=>",
    "...",
    "?.",
    "**",
  ],
  ...[
    "export ",
    "export * from ",
    "import ",
    "import(",
    "from ",
    "type ",
    "as const",
    "satisfies ",
    "await ",
    "yield ",
  ],
  ...[
    "async ",
    "function*",
    "class ",
    "enum ",
    "namespace ",
    "declare ",
    "abstract ",
    "@dec ",
    "using ",
    "new.target",
  ],
  ...[
    "__proto__: 1, ",
    '"./lib/words.ts"',
    '"../m.ts"',
    '"node:fs"',
    "1e999",
    "0x",
    "1n",
    "1_",
    "/(?<a>/u",
    "<T,>() => 1",
  ],
  ...["permissions", "limits", "description", "input", "execute", "default"],
];
const nests: readonly (readonly [open: string, close: string])[] = [
  ["(", ")"],
  ["[", "]"],
  ["{a:", "}"],
  ["!", ""],
  ["`${", "}`"],
  ["(a)=>", ""],
  ["A<", ">"],
  ["{", "}"],
];

/**
 * Reads the manifests of mutated sources. It may give one or throw `bad_module`; anything else, a manifest that is not the
 * same the second time, or a long time is a violation. Returns how many could still be read.
 */
export function fuzzSources(random: Random, count: number, report: Report): { read: number } {
  let read = 0;
  for (let done = 0; done < count; done++) {
    report.progress(() => `${done} sources of ${count}`);
    const texts: [string, string][] = [
      ["m.ts", mutated(random, random.pick(entries))],
      ["lib/words.ts", random.chance(0.3) ? mutated(random, library) : library],
      ["lib/data.json", random.chance(0.2) ? mutated(random, data) : data],
    ];
    const startedAt = performance.now();
    const first = outcomeOf(texts);
    const ms = performance.now() - startedAt;
    const source = () => JSON.stringify(texts).slice(0, 2_000);
    if (first.fault !== undefined)
      report.violation(`a source made the manifest throw ${first.fault}: ${source()}`);
    if (ms > allowedMs) report.violation(`a source took ${ms.toFixed(0)} ms to read: ${source()}`);
    if (random.chance(0.05) && outcomeOf(texts).text !== first.text)
      report.violation(`a source was read in two ways: ${source()}`);
    if (first.isManifest) read += 1;
  }
  return { read };
}

interface Outcome {
  readonly isManifest: boolean;
  /** The manifest or the message, to be compared. */
  readonly text: string;
  readonly fault?: string;
}

function outcomeOf(texts: readonly (readonly [string, string])[]): Outcome {
  try {
    return { isManifest: true, text: JSON.stringify(readManifest("m.ts", texts)) };
  } catch (error) {
    const isExpected = error instanceof VeripyError && error.code === "bad_module" && error.message !== "";
    const text = String(error);
    return { isManifest: false, text, ...(isExpected ? {} : { fault: text.slice(0, 300) }) };
  }
}

function mutated(random: Random, text: string): string {
  let changed = text;
  for (let rounds = random.integer(0, 4); rounds > 0; rounds--) changed = mutatedOnce(random, changed);
  return changed;
}

function mutatedOnce(random: Random, text: string): string {
  const at = random.integer(0, text.length);
  const to = Math.min(text.length, at + random.integer(0, 30));
  const [before, part, after] = [text.slice(0, at), text.slice(at, to), text.slice(to)];
  switch (random.integer(0, 5)) {
    case 0:
      return before + after;
    case 1:
      return before + part + part + after;
    case 2:
      return before + random.pick(pieces) + part + after;
    case 3:
      return before + random.pick(pieces) + after;
    case 4: {
      const other = random.pick(entries);
      const from = random.integer(0, other.length);
      return before + other.slice(from, from + random.integer(1, 200)) + after;
    }
    default: {
      const depth = random.chance(0.1) ? random.integer(1_000, 20_000) : random.integer(1, 200);
      const [open, close] = random.pick(nests);
      return before + open.repeat(depth) + part + close.repeat(random.chance(0.8) ? depth : 0) + after;
    }
  }
}
