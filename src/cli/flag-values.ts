import { InvalidArgumentError } from "commander";
import { z } from "zod";

/** An argument parser for commander. Its errors say what a valid value looks like. */
export function parsed<T>(schema: z.ZodType<T>): (text: string) => T {
  return (text) => {
    const result = schema.safeParse(text);
    if (result.success) return result.data;
    throw new InvalidArgumentError(result.error.issues[0]?.message ?? "It is not valid.");
  };
}

export function wholeNumber(min: number, max: number) {
  const message = `It must be a whole number from ${min} to ${max}.`;
  return z
    .string()
    .regex(/^\d{1,15}$/, message)
    .transform(Number)
    .refine((value) => value >= min && value <= max, message);
}

export const count = wholeNumber(0, 1_000_000_000);

const durationUnits: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `500ms`, `30s`, `10m`, `2h`, `7d`; a bare number is in the given unit. The result is in milliseconds. */
function durationIn(unit: "s" | "m") {
  return z
    .string()
    .regex(/^\d{1,9}(\.\d{1,3})?(ms|s|m|h|d)?$/, "It must be a duration like 500ms, 30s, 10m or 2h.")
    .transform((text) =>
      Math.round(Number.parseFloat(text) * (durationUnits[/[a-z]+$/.exec(text)?.[0] ?? unit] ?? 1)),
    );
}

export const duration = durationIn("s");
export const minutes = durationIn("m");
/** The runtime's timers take at most 31 bits of milliseconds. */
export const deadline = duration.refine((ms) => ms >= 1 && ms < 2 ** 31, "It must be from 1ms to 24d.");

const sizeUnits: Record<string, number> = { "": 1, kib: 1024, mib: 1024 ** 2, gib: 1024 ** 3 };

/** `65536`, `64KiB`, `1MiB`, `2GiB`. The result is in bytes. */
export const size = z
  .string()
  .regex(/^\d{1,12}([KMG]iB)?$/i, "It must be a size like 65536, 64KiB, 1MiB or 2GiB.")
  .transform((text) => {
    const unit = /[a-z]+$/i.exec(text)?.[0] ?? "";
    return Number.parseInt(text, 10) * (sizeUnits[unit.toLowerCase()] ?? 1);
  });

/** A user's name as useradd(8) and systemd accept it, or a number. */
export const userName = z
  .string()
  .regex(
    /^([A-Za-z_][A-Za-z0-9_-]{0,30}|\d{1,10})$/,
    "It must be a user name (at most 31 letters, digits, - and _) or a number.",
  );

/** An argument parser for a list of arguments. */
export function eachParsed<T>(schema: z.ZodType<T>): (text: string, before?: T[]) => T[] {
  return (text, before = []) => [...before, parsed(schema)(text)];
}

export const tree = z.string().regex(/^[0-9a-f]{64}$/, "It must be a tree: 64 lowercase hexadecimal digits.");

/** The beginning of a tree. */
export const treePrefix = z
  .string()
  .regex(/^[0-9a-f]{8,64}$/, "It must be a tree, or its first digits: 8 to 64 lowercase hexadecimal digits.");

/** As long as `veripy.lock` allows. */
export const noteText = z
  .string()
  .min(1, "It must not be empty.")
  .max(1_000, "It must have at most 1000 characters.");

export const path = z.string().min(1, "It must not be empty.");

/** A module's name, as long as the protocol allows. */
export const moduleName = z
  .string()
  .min(1, "It must not be empty.")
  .max(255, "It must have at most 255 characters.");
