import { createHash } from "node:crypto";
import { readFileSync, renameSync, writeFileSync } from "node:fs";

/**
 * Saves a module with new bytes and the same meaning, as an editor does: a new file renamed over the old one.
 * Returns the SHA-256 of the new file.
 */
export function saveAgain(file: string, round: number): string {
  const source = readFileSync(file, "utf8").replace(/\/\/ edit .*\n$/, "");
  const edited = `${source}// edit ${round} ${Date.now()}\n`;
  writeFileSync(`${file}.tmp`, edited);
  renameSync(`${file}.tmp`, file);
  return createHash("sha256").update(edited).digest("hex");
}
