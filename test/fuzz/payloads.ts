import type { Random } from "./random.ts";

/** The modules that the server under test has; see `fuzzModules`. */
const names = ["echo.ts", "wait.ts", "throws.ts", "stream.ts", "schema.ts"];

export const fuzzModules: Record<string, string> = {
  "echo.ts": "export const execute = (args: string) => args;\n",
  "wait.ts": `import type { ModuleContext } from "veripy";
export const execute = (args: string, { signal }: ModuleContext) =>
  new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => resolve(args), 20);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
`,
  "throws.ts": `export function execute(args: string): string {
  throw new Error(args);
}
`,
  "stream.ts": `export async function* execute(args: string) {
  for (let part = 0; part < 5; part++) yield args + part;
}
`,
  "schema.ts": `export const input = { type: "object", properties: { n: { type: "integer" } }, required: ["n"] };
export const execute = (args: string) => args;
`,
};

const strings: readonly ((random: Random) => string)[] = [
  () => "",
  (random) => random.pick(names),
  (random) => random.text(random.integer(1, 40), "abc/.:\\\"'{}[] \t"),
  (random) => `${"../".repeat(random.integer(1, 8))}etc/passwd`,
  () => "\ud800",
  () => "\u0000\u2028\ufeff\u{1f600}",
  () => "__proto__",
  (random) => "x".repeat(random.integer(100, 2_000)),
  (random) => "0".repeat(random.pick([63, 64, 65])),
];

const numbers = [
  0,
  -0,
  -1,
  1,
  0.5,
  1e308,
  -1e308,
  5e-324,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  2 ** 53 + 2,
  2 ** 63,
  1e21,
];

/** Texts that JSON has, or nearly has, and that `JSON.stringify` would not write. */
const oddTexts: readonly ((random: Random) => string)[] = [
  (random) => "[".repeat(random.integer(1, 5_000)),
  (random) => {
    const depth = random.integer(1, 3_000);
    return `${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`;
  },
  (random) => `1${"0".repeat(random.integer(20, 400))}`,
  () => "1e999",
  () => "-1e999",
  () => '"\\ud800"',
  () => '"\\ud800\\udc00\\udc00"',
  () => '"\\u0000"',
  () => "NaN",
  () => "'single'",
  () => "01",
  () => "/* comment */ 1",
  () => '{"__proto__":{"mod":"echo.ts"},"constructor":{"prototype":1}}',
];

/** The text of a random JSON value, mostly well formed. */
export function valueText(random: Random, depth = 0): string {
  const kind = random.integer(0, depth > 3 ? 5 : 8);
  if (kind <= 1) return JSON.stringify(random.pick(strings)(random));
  if (kind === 2) return String(random.pick(numbers));
  if (kind === 3) return random.pick(["null", "true", "false"]);
  if (kind === 4) return random.chance(0.3) ? random.pick(oddTexts)(random) : '"x"';
  if (kind === 5) return JSON.stringify(random.pick(names));
  if (kind === 6) return `[${list(random, () => valueText(random, depth + 1))}]`;
  return objectText(random, depth + 1);
}

function objectText(random: Random, depth: number): string {
  return `{${list(random, () => `${keyText(random)}:${valueText(random, depth)}`)}}`;
}

function keyText(random: Random): string {
  return JSON.stringify(
    random.pick(["mod", "args", "tree", "timeout_ms", "__proto__", "constructor", "toString", "x", ""]),
  );
}

function list(random: Random, item: () => string): string {
  return Array.from({ length: random.integer(0, 4) }, item).join(",");
}

/** The payload of a request: valid, nearly valid, or nonsense. Always starts with `{`. */
export function payloadText(random: Random, type: string): string {
  if (random.chance(0.15)) return objectText(random, 0);
  const fields: [string, string][] = [];
  const field = (name: string, text: string) => {
    if (random.chance(0.95))
      fields.push([JSON.stringify(name), random.chance(0.12) ? valueText(random) : text]);
    // A duplicate key: the last one counts.
    if (random.chance(0.03)) fields.push([JSON.stringify(name), valueText(random)]);
  };
  if (type === "exec" || type === "verify") field("mod", JSON.stringify(random.pick(names)));
  if (type === "exec") {
    field("args", JSON.stringify(random.chance(0.2) ? valueText(random) : random.pick(strings)(random)));
    if (random.chance(0.2)) field("tree", JSON.stringify(random.text(64, "0123456789abcdef")));
    if (random.chance(0.3)) field("timeout_ms", String(random.pick(numbers)));
  }
  if (random.chance(0.1)) fields.push([keyText(random), valueText(random)]);
  const text = `{${fields.map(([name, value]) => `${name}:${value}`).join(",")}}`;
  return random.chance(0.05) ? mutateText(random, text) : text;
}

/** Takes a piece out, doubles one, or puts something in; the first character stays. */
export function mutateText(random: Random, text: string): string {
  const at = random.integer(1, text.length);
  const to = Math.min(text.length, at + random.integer(1, 8));
  const way = random.integer(0, 3);
  if (way === 0) return text.slice(0, at) + text.slice(to);
  if (way === 1) return text.slice(0, to) + text.slice(at);
  if (way === 2) return text.slice(0, at);
  return (
    text.slice(0, at) + random.text(random.integer(1, 5), '{}[]":,\\\u0000\u00e9\ud83d') + text.slice(at)
  );
}
