import type { MethodDefinition } from "@grpc/grpc-js";

/**
 * `rpc Exec(Text) returns (Text)` with `message Text { string value = 1; }`, coded by hand: one field needs no
 * code generator, and what a generator's codec would cost more is not held against gRPC.
 */
export const execMethod: MethodDefinition<string, string> = {
  path: "/bench.Modules/Exec",
  requestStream: false,
  responseStream: false,
  requestSerialize: encodeText,
  requestDeserialize: decodeText,
  responseSerialize: encodeText,
  responseDeserialize: decodeText,
};

function encodeText(value: string): Buffer {
  const length = Buffer.byteLength(value);
  const header: number[] = [0x0a];
  for (let rest = length; ; rest >>>= 7) {
    header.push(rest > 0x7f ? (rest & 0x7f) | 0x80 : rest);
    if (rest <= 0x7f) break;
  }
  const bytes = Buffer.allocUnsafe(header.length + length);
  bytes.set(header);
  bytes.write(value, header.length);
  return bytes;
}

function decodeText(bytes: Buffer): string {
  let at = 1;
  while ((bytes[at] ?? 0) > 0x7f) at++;
  return bytes.toString("utf8", at + 1);
}
