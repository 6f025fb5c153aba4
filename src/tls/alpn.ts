/** An ALPN protocol list of one name, as RFC 7301 section 3.1 writes it: Bun passes on what it is given. */
export function alpnList(name: string): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(name);
  return Uint8Array.of(bytes.length, ...bytes);
}
