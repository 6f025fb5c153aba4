import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { run } from "./processes.ts";

/** Whether this user has the right to mount a file system. */
export const canMount = process.platform === "linux" && process.getuid?.() === 0;

/** A file system of 64 KiB. */
export class SmallDisk implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async mount(path: string): Promise<SmallDisk> {
    await mkdir(path, { recursive: true });
    const { exitCode, stderr } = await run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", path]);
    if (exitCode !== 0) throw new Error(`Cannot mount: ${stderr}`);
    return new SmallDisk(path);
  }

  /** To the last byte. */
  async fill(): Promise<void> {
    await run(["sh", "-c", `dd if=/dev/zero of=${this.path}/ballast bs=1k; true`]);
  }

  async free(): Promise<void> {
    await rm(join(this.path, "ballast"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run(["umount", "--lazy", this.path]);
  }
}
