import { expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import { withDefaultLimits } from "../../../src/base/limits.ts";
import { readModuleSource } from "../../../src/source/read-source.ts";
import { ModsDir } from "../../helpers/mods-dir.ts";
import { load } from "../../helpers/versions.ts";

const library = (word: string) => `export const word = "${word}";\n`;
const module = `import { word } from "./word.ts";
export const execute = async () => word;
`;

test("a module and an import that are links load, and import from where the links are", async () => {
  await using mods = await ModsDir.create({
    "_releases/a.b/m.ts": module,
    "_releases/a.b/w.ts": library("linked"),
  });
  await mods.link("_releases/a.b/m.ts", "m.ts");
  await mods.link("_releases/a.b/w.ts", "word.ts");
  const source = await readModuleSource(mods.path, "m.ts", withDefaultLimits());
  await using m = await load(source);
  expect(await m.result()).toBe("linked");
});

test("a link that leads elsewhere by the time of the load still gives the bytes that were hashed", async () => {
  const text = (word: string) => `export const execute = async () => "${word}";\n`;
  await using mods = await ModsDir.create({ "_1/m.ts": text("hashed"), "_2/m.ts": text("swapped") });
  await mods.link("_1", "_now");
  await mods.link("_now/m.ts", "m.ts");
  const source = await readModuleSource(mods.path, "m.ts", withDefaultLimits());
  await rm(mods.at("_now"));
  await mods.link("_2", "_now");
  await using m = await load(source);
  expect(await m.result()).toBe("hashed");
});

test("a link to a file about which Bun asks no plugin still gives the bytes that were hashed", async () => {
  const text = (word: string) => `export const execute = async () => "${word}";\n`;
  await using mods = await ModsDir.create();
  for (const target of ["_files/one", "_v1.2/one", "_files/one.1"]) {
    await mods.write(target, text("hashed"));
    await mods.link(target, "m.ts");
    await mods.write("n.ts", `export * from "./m.ts";`);
    for (const mod of ["m.ts", "n.ts"]) {
      await mods.write(target, text("hashed"));
      const source = await readModuleSource(mods.path, mod, withDefaultLimits());
      await mods.write(target, text("changed"));
      await using m = await load(source);
      expect(await m.result()).toBe("hashed");
    }
    await mods.remove("m.ts");
  }
});
