import { maxProgressBytes, progressEveryMs } from "../protocol.ts";

/** Sends the progress of one call: the newest report every `progressEveryMs`, and always the last one. */
export class ProgressReports {
  readonly #send: (json: string) => void;
  #waiting: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(send: (json: string) => void) {
    this.#send = send;
  }

  report(fraction: number | undefined, message: string | undefined): void {
    const report: { fraction?: number; message?: string } = {};
    if (typeof fraction === "number" && !Number.isNaN(fraction))
      report.fraction = Math.min(1, Math.max(0, fraction));
    if (message !== undefined) report.message = clipBytes(String(message), maxProgressBytes);
    this.#waiting = JSON.stringify(report);
    if (this.#timer === undefined) this.#next();
  }

  /** Sends the report that waits. Call it once, at the end. */
  flush(): void {
    clearTimeout(this.#timer);
    if (this.#waiting !== undefined) this.#send(this.#waiting);
    this.#waiting = undefined;
  }

  #next(): void {
    this.#timer = undefined;
    if (this.#waiting === undefined) return;
    this.#send(this.#waiting);
    this.#waiting = undefined;
    this.#timer = setTimeout(() => this.#next(), progressEveryMs);
  }
}

const ellipsis = "…";

/** Cuts a text to `maxBytes` of UTF-8, not within a character, and marks it with an ellipsis. */
function clipBytes(text: string, maxBytes: number): string {
  if (Buffer.byteLength(text) <= maxBytes) return text;
  const room = new Uint8Array(maxBytes - Buffer.byteLength(ellipsis));
  return text.slice(0, new TextEncoder().encodeInto(text, room).read) + ellipsis;
}
