import { partWindow } from "../protocol.ts";

/** The parts of a stream that no credit has come for yet. A generator that is ahead of its reader waits for room here. */
export class PartWindow {
  /** The size of each part that no credit has come for yet, oldest first. */
  readonly #sizes: number[] = [];
  #bytes = 0;
  #wake: (() => void) | undefined;
  closed = false;

  /** True while there is room for another part. */
  take(size: number): boolean {
    this.#sizes.push(size);
    this.#bytes += size;
    return this.#hasRoom();
  }

  credit(parts: number): void {
    for (const size of this.#sizes.splice(0, parts)) this.#bytes -= size;
    if (this.#hasRoom()) this.#wake?.();
  }

  /** Resolves when there is room, or when the stream is to end. */
  async room(): Promise<void> {
    if (this.closed || this.#hasRoom()) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }

  close(): void {
    this.closed = true;
    this.#wake?.();
  }

  #hasRoom(): boolean {
    return this.#sizes.length < partWindow.parts && this.#bytes < partWindow.bytes;
  }
}
