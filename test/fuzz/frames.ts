import { mutateText, payloadText } from "./payloads.ts";
import type { Random } from "./random.ts";

/** What a server owes for a line. */
export type Effect =
  /** One final answer with the line's REF. */
  | "answer"
  | "nothing"
  /** `sys:error:-` and the end of the connection. */
  | "end";

export interface FuzzedLine {
  /** With its newline. */
  readonly bytes: Uint8Array;
  readonly effect: Effect;
  readonly ref: string;
}

export const maxLineBytes = 64 * 1024;

// Written from the protocol's description, not taken from the implementation.
const frame = /^([a-z_]{1,64}):([a-z_]{1,64}):([A-Za-z0-9_.-]{1,64}) +(\{.*)$/s;
const maxPayloadDepth = 128;
const requests = ["exec", "exec", "exec", "sync", "verify", "stats", "cancel"];
const words = ["mod", "sys", "modload", "moderror", "x", "_", "mod_"];

/** One line: a request that is right, or wrong in one or several ways. `ref` is new on its connection. */
export function fuzzedLine(random: Random, ref: string, refsInUse: readonly string[]): FuzzedLine {
  const bytes = random.chance(0.002)
    ? brokenBytes(random)
    : new TextEncoder().encode(`${lineText(random, ref, refsInUse)}\n`);
  return { bytes, ...expectationOf(bytes) };
}

function lineText(random: Random, freshRef: string, refsInUse: readonly string[]): string {
  const isMod = random.chance(0.8);
  let type = isMod ? random.pick(requests) : random.pick(["ping", "info", "pong", "rotate"]);
  let api = isMod ? "mod" : "sys";
  if (random.chance(0.02))
    api = random.chance(0.9) ? random.pick(words) : random.text(random.integer(0, 70), "abz_A:");
  if (random.chance(0.02))
    type = random.chance(0.9) ? random.pick(words) : random.text(random.integer(0, 70), "abz_A:");
  const line = `${api}:${type}:${refText(random, type, freshRef, refsInUse)} ${payloadText(random, type)}`;
  return random.chance(0.002) ? mutateText(random, line) : line;
}

function refText(random: Random, type: string, freshRef: string, refsInUse: readonly string[]): string {
  if (refsInUse.length > 0 && random.chance(type === "cancel" ? 0.7 : 0.02)) return random.pick(refsInUse);
  if (random.chance(0.001)) return random.text(random.pick([64, 65, 200]), "abc.-_");
  return freshRef;
}

function brokenBytes(random: Random): Uint8Array {
  const way = random.integer(0, 5);
  const line = (text: string) => new TextEncoder().encode(`${text}\n`);
  if (way === 0) {
    const noise = random.bytes(random.integer(0, 300)).map((byte) => (byte === 0x0a ? 0x0b : byte));
    return Uint8Array.from([...noise, 0x0a]);
  }
  if (way === 1)
    return Uint8Array.from([...line('mod:sync:1 {"x":"').subarray(0, -1), 0xff, 0xc0, 0x22, 0x7d, 0x0a]);
  if (way === 2) return line("x".repeat(maxLineBytes + 1));
  if (way === 3) return line(`mod:exec:big {"mod":"echo.ts","args":"${"x".repeat(maxLineBytes - 60)}"}`);
  if (way === 4)
    return line(random.pick(["GET / HTTP/1.1", "", " ", "mod:sync:1", "mod:sync:1 []", "mod::1 {}"]));
  // A lone half of a surrogate pair, encoded as no encoder would.
  return Uint8Array.from([...line('sys:ping:1 {"x":"').subarray(0, -1), 0xed, 0xa0, 0x80, 0x22, 0x7d, 0x0a]);
}

function expectationOf(bytes: Uint8Array): { effect: Effect; ref: string } {
  if (bytes.length - 1 > maxLineBytes) return { effect: "end", ref: "-" };
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes.subarray(0, -1));
  } catch {
    return { effect: "end", ref: "-" };
  }
  const [, api, type, ref, json] = frame.exec(text) ?? [];
  if (api === undefined || ref === undefined || json === undefined) return { effect: "end", ref: "-" };
  const hasAnswer = !((api === "mod" && type === "cancel") || (api === "sys" && type === "pong"));
  // What is wrong with a payload is always told.
  return { effect: hasAnswer || !isPayload(json) ? "answer" : "nothing", ref };
}

function isPayload(json: string): boolean {
  try {
    JSON.parse(json);
  } catch {
    return false;
  }
  return depthOf(json) <= maxPayloadDepth;
}

/** As it is written: the first value of a duplicate key counts here. */
function depthOf(json: string): number {
  let depth = 0;
  let most = 0;
  for (const [bracket] of json.replace(/"(?:[^"\\]|\\.)*"/g, "").matchAll(/[[\]{}]/g)) {
    depth += "[{".includes(bracket) ? 1 : -1;
    most = Math.max(most, depth);
  }
  return most;
}
