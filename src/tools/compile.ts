import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { outputOf } from "./run.ts";

/** What is written into an executable about its origin. */
export interface Origin {
  readonly version: string;
  readonly commit: string;
}

export interface CompileRequest {
  /** The root of the project; the entry is below it. */
  readonly root: string;
  readonly entry: string;
  /** Where the executable goes, an absolute path; what stood there is replaced at once, never half. */
  readonly outfile: string;
  /**
   * The name under which it is compiled. The name becomes part of the bytes, so two builds are identical only
   * under the same one.
   */
  readonly name: string;
  readonly origin: Origin;
  /** Undefined: the runtime that runs this script. */
  readonly target?: Bun.Build.CompileTarget;
}

/**
 * Compiles one self-contained executable; one at a time, for the process's working directory is the project's
 * meanwhile. Throws with the bundler's own message when it can't.
 */
export async function compileExecutable(request: CompileRequest): Promise<void> {
  const dist = dirname(request.outfile);
  await mkdir(dist, { recursive: true });
  // Inside dist/, for the rename at the end must not cross file systems.
  const directory = await mkdtemp(join(dist, ".build-"));
  // The bundler writes paths relative to the working directory into the bytes.
  const cwd = process.cwd();
  process.chdir(request.root);
  try {
    await Bun.build({
      entrypoints: [join(request.root, request.entry)],
      root: request.root,
      target: "bun",
      minify: true,
      // Parsing was two thirds of a start (35 ms of commander and zod); bytecode makes it 14 ms for 3 MB more.
      bytecode: true,
      format: "esm",
      // Embedded: stack traces name our files and lines instead of columns of one minified line.
      sourcemap: "linked",
      // What is imported on demand is loaded on demand. A module host is this executable too, and without the
      // server's code has 3.7 MB of its own instead of 6.3.
      splitting: true,
      define: {
        VERIPY_VERSION: JSON.stringify(request.origin.version),
        VERIPY_COMMIT: JSON.stringify(request.origin.commit),
      },
      compile: {
        ...(request.target === undefined ? {} : { target: request.target }),
        outfile: join(directory, request.name),
        // The directory where somebody starts an executable must not change what it does.
        autoloadBunfig: false,
        autoloadDotenv: false,
        autoloadTsconfig: false,
        autoloadPackageJson: false,
      },
    });
    await rename(join(directory, await executableIn(directory)), request.outfile);
  } finally {
    process.chdir(cwd);
    await rm(directory, { recursive: true, force: true });
  }
}

/** Bun adds `.exe` for Windows by itself, and leaves the source map beside the executable. */
async function executableIn(directory: string): Promise<string> {
  const made = (await readdir(directory)).filter((file) => !file.endsWith(".map"));
  const [file] = made;
  if (file === undefined || made.length > 1) {
    throw new Error(`The bundler should have made one executable; it made ${JSON.stringify(made)}.`);
  }
  return file;
}

/**
 * Undefined when the runtime for `target` is here or could be fetched, else the reason. It compiles an empty
 * program, so that a fault of our own source is never taken for a runtime that is missing.
 */
export async function missingRuntime(
  target: Bun.Build.CompileTarget,
  dist: string,
): Promise<string | undefined> {
  await mkdir(dist, { recursive: true });
  const directory = await mkdtemp(join(dist, ".probe-"));
  try {
    const entry = join(directory, "empty.ts");
    await writeFile(entry, "export {};\n");
    await Bun.build({ entrypoints: [entry], compile: { target, outfile: join(directory, "empty") } });
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/**
 * The version of package.json and the commit that is checked out, with `-dirty` behind it when files differ
 * from the commit; `unknown` outside of a git checkout. Nothing of time or place: it must not change the bytes.
 */
export async function readOrigin(root: string): Promise<Origin> {
  const { version } = (await Bun.file(join(root, "package.json")).json()) as { version: string };
  const commit = outputOf(["git", "rev-parse", "--short=12", "HEAD"], root);
  if (commit === undefined) return { version, commit: "unknown" };
  const dirty = outputOf(["git", "status", "--porcelain"], root) !== "";
  return { version, commit: dirty ? `${commit}-dirty` : commit };
}
