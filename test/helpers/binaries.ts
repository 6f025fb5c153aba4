import { existsSync, statSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");

/** The two executables, built first if the sources are newer. */
export async function binaries(): Promise<{ server: string; client: string }> {
  const built = { server: join(root, "dist/veripy-server"), client: join(root, "dist/veripy-client") };
  if (newestSource() > Math.min(builtAt(built.server), builtAt(built.client))) {
    const build = Bun.spawn([process.execPath, "run", "build"], {
      cwd: root,
      stdout: "pipe",
      stderr: "pipe",
    });
    const output = (await new Response(build.stdout).text()) + (await new Response(build.stderr).text());
    if ((await build.exited) !== 0) throw new Error(`The build failed:\n${output}`);
  }
  return built;
}

function builtAt(path: string): number {
  return existsSync(path) ? statSync(path).mtimeMs : 0;
}

function newestSource(): number {
  const files = ["package.json", "bun.lock", ...new Bun.Glob("{src,mods}/**/*.{ts,txt}").scanSync(root)];
  return Math.max(...files.map((file) => statSync(join(root, file)).mtimeMs));
}
