import { mkdtempSync } from "node:fs";
import { mkdir, realpath, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { $ } from "bun";

/** A `mods/` in a temporary directory; `await using` removes both. */
export class ModsDir implements AsyncDisposable {
  /** The temporary directory around `mods/`. */
  readonly outside = mkdtempSync(join(tmpdir(), "veripy-mods-"));
  readonly path = join(this.outside, "mods");

  static async create(files: Record<string, string | Uint8Array> = {}): Promise<ModsDir> {
    const mods = new ModsDir();
    await mkdir(mods.path);
    for (const [path, content] of Object.entries(files)) await mods.write(path, content);
    return mods;
  }

  at(path: string): string {
    return join(this.path, path);
  }

  /** Writes a file in place, as `echo > file` does. */
  async write(path: string, content: string | Uint8Array): Promise<void> {
    await mkdir(dirname(this.at(path)), { recursive: true });
    await writeFile(this.at(path), content);
  }

  /** Writes a file by renaming a new one over it, as most editors do. */
  async replace(path: string, content: string): Promise<void> {
    const temporary = this.at(`.${path.replaceAll("/", "_")}.tmp`);
    await writeFile(temporary, content);
    await rename(temporary, this.at(path));
  }

  async remove(path: string): Promise<void> {
    await rm(this.at(path), { recursive: true });
  }

  async link(target: string, path: string): Promise<void> {
    await mkdir(dirname(this.at(path)), { recursive: true });
    await symlink(target, this.at(path));
  }

  /** The real path of `mods/`. */
  root(): Promise<string> {
    return realpath(this.path);
  }

  /** The digest as the `sha256sum` program prints it. */
  async sha256sum(path: string): Promise<string> {
    return (await $`sha256sum < ${this.at(path)}`.text()).slice(0, 64);
  }

  /** `cd mods && sha256sum PATH… | sha256sum` */
  async treeSum(...paths: string[]): Promise<string> {
    return (await $`sha256sum ${paths} | sha256sum`.cwd(this.path).text()).slice(0, 64);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.outside, { recursive: true, force: true });
  }
}
