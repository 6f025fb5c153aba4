import { expect, test } from "bun:test";
import { load } from "../../helpers/versions.ts";

test("smoke", async () => {
  const t = performance.now();
  await using m = await load(`
    import { readFileSync, writeFileSync, readdirSync } from "node:fs";
    import { join } from "node:path";
    const tried = (f: () => unknown) => { try { return String(f()).slice(0, 40); } catch (e) { return (e as Error).message; } };
    export function execute() {
      return JSON.stringify([
        process.env.TMPDIR, process.env.VERIPY_HOST_SANDBOX,
        tried(() => readFileSync("/etc/passwd", "utf8")),
        tried(() => readdirSync("/tmp")),
        tried(() => { writeFileSync(join(process.env.TMPDIR!, "a"), "b"); return readFileSync(join(process.env.TMPDIR!, "a"), "utf8"); }),
        tried(() => Bun.spawnSync(["ls"])),
      ]);
    }`);
  console.log(performance.now() - t);
  console.log(await m.result(""));
});
