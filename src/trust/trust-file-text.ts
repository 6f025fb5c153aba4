import type { Span } from "../base/strict-json.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import { parseTrustList } from "./trust-file.ts";

// Edits of the text of `trusted-keys.json` that leave the rest of it unchanged, byte for byte. They don't check the
// result.

/** Appends an entry, with the same layout as the last one. */
export function withEntry(text: string, file: string, json: string): string {
  const { start, end, elements } = parseTrustList(text, file).place;
  const last = elements.at(-1);
  if (last === undefined) {
    const indent = /[ \t]*/.exec(text.slice(text.lastIndexOf("\n", start) + 1))?.[0] ?? "";
    return `${text.slice(0, start)}[\n${indent}  ${json}\n${indent}]${text.slice(end)}`;
  }
  const before = elements.at(-2)?.end ?? start;
  // White space and a comma or bracket.
  const lead = text.slice(before, last.start).replace(/[[,]/, "");
  return `${text.slice(0, last.end)},${lead}${json}${text.slice(last.end)}`;
}

/** Changes fields of an entry. Undefined removes a field. An entry with only a key is written as that key. */
export function withFields(
  text: string,
  file: string,
  index: number,
  fields: Record<string, unknown> & { fingerprint?: Fingerprint },
): string {
  const { start, end } = parseTrustList(text, file).place.elements[index] as Span;
  const before: unknown = JSON.parse(text.slice(start, end));
  const entry = { ...(typeof before === "string" ? { fingerprint: before } : (before as object)), ...fields };
  const { fingerprint, ...rest } = entry as Record<string, unknown>;
  const isBare = Object.values(rest).every((value) => value === undefined);
  return text.slice(0, start) + JSON.stringify(isBare ? fingerprint : entry) + text.slice(end);
}

/** Removes an entry and the comma before it, or after it if it is the first. */
export function withoutEntry(text: string, file: string, index: number): string {
  const { place } = parseTrustList(text, file);
  const { start, end } = place.elements[index] as Span;
  const previous = place.elements[index - 1];
  const next = place.elements[index + 1];
  if (previous !== undefined) return text.slice(0, previous.end) + text.slice(end);
  if (next !== undefined) return text.slice(0, start) + text.slice(next.start);
  return `${text.slice(0, place.start)}[]${text.slice(place.end)}`;
}
