/** An ALPN protocol list with one name, encoded as in RFC 7301 section 3.1, because Bun does not encode it. */
export function alpnList(name: string): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(name);
  return Uint8Array.of(bytes.length, ...bytes);
}
