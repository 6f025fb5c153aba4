import { join } from "node:path";
import { type Ended, run } from "./processes.ts";
import { temporaryDirectory } from "./temporary.ts";

const root = join(import.meta.dir, "../..");

/** A new project, outside this checkout, that has added VeriPy as a packed package. */
export class Project implements AsyncDisposable {
  readonly path: string;
  readonly #directory: AsyncDisposable;

  private constructor(directory: { path: string } & AsyncDisposable) {
    this.path = directory.path;
    this.#directory = directory;
  }

  static async create(): Promise<Project> {
    const project = new Project(await temporaryDirectory());
    const { version, devDependencies } = await Bun.file(join(root, "package.json")).json();
    await must(["pm", "pack", "--destination", project.path], root);
    const { typescript, "bun-types": bunTypes } = devDependencies;
    await project.write({
      "package.json": JSON.stringify({
        type: "module",
        dependencies: { veripy: `./veripy-${version}.tgz` },
        devDependencies: { typescript, "bun-types": bunTypes },
      }),
      // The strictest settings that a user may have: they check a package's declarations too.
      "tsconfig.json": JSON.stringify({
        compilerOptions: {
          module: "nodenext",
          target: "esnext",
          lib: ["esnext"],
          types: ["bun-types"],
          strict: true,
          exactOptionalPropertyTypes: true,
          noUncheckedIndexedAccess: true,
          noUnusedLocals: true,
          noEmit: true,
        },
        include: ["*.ts"],
      }),
    });
    await must(["install"], project.path);
    return project;
  }

  async write(files: Record<string, string>): Promise<void> {
    for (const [name, text] of Object.entries(files)) await Bun.write(join(this.path, name), text);
  }

  /** Type-checks the project's own files and every declaration that they use. */
  typeCheck(): Promise<Ended> {
    const compiler = join(this.path, "node_modules/typescript/bin/tsc");
    return run([process.execPath, compiler, "-p", "."], { cwd: this.path, deadlineMs: 60_000 });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve(this.#directory[Symbol.asyncDispose]());
  }
}

async function must(args: string[], cwd: string): Promise<void> {
  const { exitCode, stdout, stderr } = await run([process.execPath, ...args], { cwd, deadlineMs: 120_000 });
  if (exitCode !== 0) throw new Error(`'bun ${args.join(" ")}' failed:\n${stdout}${stderr}`);
}
