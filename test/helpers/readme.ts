import { join } from "node:path";

/** The TypeScript blocks of README.md, in order: modules, and programs that use the library. */
export async function readmeBlocks(): Promise<{ modules: string[]; programs: string[] }> {
  const text = await Bun.file(join(import.meta.dir, "../../README.md")).text();
  const blocks = [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, block = ""]) => block);
  const isModule = (block: string) => /\bexecute\s*(\(|=)/.test(block) && block.includes("export ");
  const [modules, programs] = [blocks.filter(isModule), blocks.filter((block) => !isModule(block))];
  if (modules.length === 0 || programs.length === 0) throw new Error("README.md has no examples to try.");
  return { modules, programs };
}
