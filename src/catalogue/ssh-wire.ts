/**
 * Reads the data types of RFC 4251, section 5, from bytes. Every method throws `RangeError` when they end too early; `end`
 * throws when something is left.
 */
export class SshReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  bytes(length: number): Buffer {
    if (length > this.#bytes.length - this.#at) throw new RangeError("it ends too early");
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  byte(): number {
    return this.bytes(1).readUInt8();
  }

  uint32(): number {
    return this.bytes(4).readUInt32BE();
  }

  string(): Buffer {
    return this.bytes(this.uint32());
  }

  text(): string {
    return this.string().toString("latin1");
  }

  /** A number that is not negative, as big-endian bytes without leading zeros. */
  mpint(): Buffer {
    const number = this.string();
    const [first = 0, second = 0] = number;
    if (first >= 0x80) throw new RangeError("a number is negative");
    if (number.length > 0 && first === 0 && second < 0x80)
      throw new RangeError("a number has needless zeros");
    return first === 0 ? number.subarray(1) : number;
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw new RangeError("something follows its end");
  }
}

/** A string of RFC 4251: its length in four bytes, then its bytes. */
export function sshString(data: Uint8Array | string): Buffer {
  const bytes = Buffer.from(data as Uint8Array);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
