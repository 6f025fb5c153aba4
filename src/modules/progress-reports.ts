import { clip, progressEveryMs } from "./host-protocol.ts";

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
    if (message !== undefined) report.message = clip(String(message), 1024);
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
