import { describe, expect, test } from "bun:test";
import { markSpecifiers } from "../../../src/host/child/specifier-mark.ts";
import { scanImports } from "../../../src/manifest/import-scan.ts";

describe("every specifier that Bun's loader would read is marked", () => {
  const mark = (text: string, path = "m.ts") => markSpecifiers(text, scanImports(path, text).specifiers);

  test.each([
    [`import a from "./a"; export * from './b';`, `import a from "veripy:./a"; export * from 'veripy:./b';`],
    [
      `import "node:fs"; import type { A } from "x";`,
      `import "veripy:node:fs"; import type { A } from "veripy:x";`,
    ],
    [`import("./a"); import(b);`, `import(\`veripy:\${"./a"}\`); import(\`veripy:\${b}\`);`],
    [
      `import(a ? b : c, { with: { type: "json" } })`,
      `import(\`veripy:\${a ? b : c}\`, { with: { type: "json" } })`,
    ],
    [`import(await import(a))`, `import(\`veripy:\${await import(\`veripy:\${a}\`)}\`)`],
    [`import(/* ) */ a // )\n);`, `import(/* ) */ \`veripy:\${a}\` // )\n);`],
    [
      `import(\`é\${a}𝒳\`); "𝒳"; import(b)`,
      `import(\`veripy:\${\`é\${a}𝒳\`}\`); "𝒳"; import(\`veripy:\${b}\`)`,
    ],
    [
      `require("./a"); require(b); "import(c)"; // import(d)`,
      `require("./a"); require(b); "import(c)"; // import(d)`,
    ],
  ])("%s", (text, marked) => {
    expect(mark(text)).toBe(marked);
    if (!text.includes("import type")) expect(mark(text, "m.js")).toBe(marked);
  });

  // Each place has a number of its own in case the parser and Bun read one differently.
  const places = `
@d(import(1)) class A<T> extends B implements C { @e(import(3)) p = import(4); static [await import(5)] = 1;
  constructor(@f(import(6)) private readonly q = import(7), r = import(8)) { super(import(9)); }
  static { import(10); } get x() { return import(11); } async *g() { yield* import(12); } #h = import(13); declare z: 1 }
enum E { A = (import(15), 1) } namespace N { export const x = import(16); }
const t = \`\${import(18)}\`; tag\`\${import(19)}\`; f<T>(import(20)); new G<T>(import(21)); import(22) as any; <any>import(23);
import(24)!; import(25) satisfies X; a?.b?.(import(26)); const { c = import(27), [import(28)]: d2 } = y;
const [e2 = import(29)] = y; for (const h of import(30)); for (let i = import(31); import(32); import(33));
switch (import(34)) { case import(35): import(36) } try { import(37) } catch { import(38) } finally { import(39) }
label: { import(40) } const o = { [import(41)]: import(42), get g() { return import(43) }, async m(x = import(44)) {}, ...import(45) };
const ar = async (x = import(46)) => import(47), ar2 = <T,>(x = import(48)): T => { return import(49) as T };
function ov(x: string): void; function ov(x = import(50)) {} { using u = import(51); } a ? import(52) : import(53);
a ? (import(54)) : (import(55)); a ? (b = import(56)) => c : d; export default class { x = import(57) } export const ex = import(58);
if (import(59)) import(60); else import(61); do { import(62) } while (import(63)); await import(65); void import(66);
typeof import(68); import(70)[import(71)]; [...import(72)]; a ??= import(73); const ag = async <T>(b = import(74)): Promise<T> => {};
abstract class AB { abstract m(): void; n = import(75) } const fe = function* (x = import(76)) { yield import(77) };
import(import(78)); import("79" + import(80)); a!.b!(import(84)); (async () => { for await (const q of import(85)); })();
a\n<import(86)>b; a < import(87) > b; type\nX = import(88); declare\nlet y1 = import(89); a\nas\nimport(90); x / import(91) / g;
(x) / import(92) / g; x++ / import(93) / g; if (x) /import(0)/.test(y); x = y / import(94) / /import(0)/g.lastIndex; export {};`;

  test("in every place where an expression can stand, as Bun reads the same text", () => {
    const read = new Bun.Transpiler({ loader: "ts" }).transformSync(mark(places));
    // In `places`, import(0) stands only within regular expressions.
    const unmarked = read.match(/import\((?!["`]veripy:)[^)]*\)/g) ?? [];
    expect(unmarked).toEqual(["import(0)", "import(0)"]);
    expect(read.match(/import\(["`]veripy:/g)?.length).toBeGreaterThan(80);
  });

  test("and line numbers stay the same", () => {
    expect(mark(places).split("\n")).toHaveLength(places.split("\n").length);
  });
});
