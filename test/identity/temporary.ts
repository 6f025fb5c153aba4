import { afterAll } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A new directory below the system's temporary one, removed when the test file is done. */
export function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), "veripy-"));
  afterAll(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
