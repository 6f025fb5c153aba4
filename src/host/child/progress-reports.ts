import { maxProgressBytes, progressEveryMs } from "../protocol.ts";

/** Progress of one call: at most one report in `progressEveryMs`, the newest, and the last one always. */
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

  /** Sends what waits, and nothing later. */
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

/** Cuts a text to `maxBytes` of UTF-8 between two characters, and shows that it did. */
function clipBytes(text: string, maxBytes: number): string {
  if (Buffer.byteLength(text) <= maxBytes) return text;
  const room = new Uint8Array(maxBytes - Buffer.byteLength(ellipsis));
  return text.slice(0, new TextEncoder().encodeInto(text, room).read) + ellipsis;
}
