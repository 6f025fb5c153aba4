import { openLibc } from "../../src/base/libc.ts";

// `bun landlocked.ts LAYERS COMMAND…`: becomes COMMAND, under rulesets that refuse nothing but the making of block devices.
// The kernel stacks no more than sixteen.

const libc = openLibc({
  syscall: { args: ["i64", "u64", "u64", "u64", "u64"], returns: "i64" },
  prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
  execv: { args: ["ptr", "ptr"], returns: "i32" },
});
if (libc === undefined) throw new Error("The C library cannot be called.");
const { ptr } = await import("bun:ffi");
const { syscall, prctl, execv } = libc.symbols;
const [layers, ...command] = process.argv.slice(2);
const makeBlock = new BigUint64Array([1n << 11n]);
prctl(38, 1, 0, 0, 0);
for (let layer = 0; layer < Number(layers); layer++) {
  const ruleset = syscall(444, ptr(makeBlock), 8, 0, 0);
  if (Number(syscall(446, ruleset, 0, 0, 0)) !== 0) throw new Error(`Layer ${layer} was refused.`);
}
const texts = command.map((word) => Buffer.from(`${word}\0`));
const addresses = new BigUint64Array([...texts.map((text) => BigInt(ptr(text))), 0n]);
execv(ptr(texts[0] as Buffer), ptr(addresses));
throw new Error("The command cannot be run.");
