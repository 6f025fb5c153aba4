import { join } from "node:path";

const root = join(import.meta.dir, "../..");

/** The TypeScript blocks of README.md and docs/library.md: modules, and programs that use the library. */
export async function readmeBlocks(): Promise<{ modules: string[]; programs: string[] }> {
  const blocks = [...(await blocksOf("README.md", "ts")), ...(await blocksOf("docs/library.md", "ts"))];
  const isModule = (block: string) => /\bexecute\s*(\(|=)/.test(block) && block.includes("export ");
  const [modules, programs] = [blocks.filter(isModule), blocks.filter((block) => !isModule(block))];
  if (modules.length === 0 || programs.length === 0) throw new Error("There are no examples to try.");
  return { modules, programs };
}

/** The commands of README.md's shell blocks in their order, without what a comment says of them. */
export async function readmeCommands(): Promise<string[]> {
  const blocks = await blocksOf("README.md", "sh");
  if (blocks.length === 0) throw new Error("README.md has no commands to try.");
  return blocks.flatMap((block) => block.trimEnd().split("\n")).map((line) => line.replace(/\s+# .*$/, ""));
}

/** The fenced blocks of a document in one language. */
export async function blocksOf(document: string, language: string): Promise<string[]> {
  const text = await Bun.file(join(root, document)).text();
  const fence = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, "gms");
  return [...text.matchAll(fence)].map(([, block = ""]) => block);
}
