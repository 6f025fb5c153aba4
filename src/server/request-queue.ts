import type { Limits } from "../base/limits.ts";
import type { Frame } from "../protocol/frame.ts";

/** Requests that wait while later ones are still read, and their characters in all. */
const maxWaitingFrames = 64;
const maxWaitingLength = 64 * 1024;

/** What the queue needs of its session. */
export interface QueuedSession {
  readonly callsInFlight: number;
  /** Output that the client has not taken yet. */
  readonly queuedBytes: number;
  /** The client takes its answers too slowly. */
  readonly isBehind: boolean;
  handle(frame: Frame): void;
  pauseReading(): void;
  resumeReading(): void;
}

export type QueueLimits = Pick<Limits, "maxRequestsInFlight" | "maxResultBytes" | "maxQueuedBytes">;

/**
 * The requests of one client, each handled as soon as there is room for its answer. A request without room waits; those
 * with short answers may overtake it. When too much waits, reading pauses. Nothing is dropped.
 */
export class RequestQueue {
  readonly #session: QueuedSession;
  readonly #limits: QueueLimits;
  #waiting: Frame[] = [];
  #isHeld = false;
  #isPaused = false;
  #isAdvancing = false;

  constructor(session: QueuedSession, limits: QueueLimits) {
    this.#session = session;
    this.#limits = limits;
  }

  /** All requests wait until `release`. */
  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** Reading has stopped until there is room for more. */
  get isPaused(): boolean {
    return this.#isPaused;
  }

  hold(): void {
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
    this.advance();
  }

  add(frame: Frame): void {
    if (!this.#isPaused && !this.#mustWait(frame)) {
      this.#session.handle(frame);
      return;
    }
    this.#waiting.push(frame);
    this.advance();
  }

  /** To be called when what the session has in flight or in its output queue has changed. */
  advance(): void {
    // A call that ends at once calls this again.
    if (this.#isAdvancing) return;
    this.#isAdvancing = true;
    try {
      this.#handleWaiting();
    } finally {
      this.#isAdvancing = false;
    }
    const mustPause = this.#mustPause();
    if (mustPause === this.#isPaused) return;
    this.#isPaused = mustPause;
    if (mustPause) this.#session.pauseReading();
    else this.#session.resumeReading();
  }

  /** Forgets what waits. */
  clear(): void {
    this.#waiting = [];
  }

  #handleWaiting(): void {
    for (;;) {
      const [next] = this.#waiting;
      if (next === undefined || this.#mustWait(next)) return;
      this.#waiting.shift();
      this.#session.handle(next);
    }
  }

  #mustWait(frame: Frame): boolean {
    if (this.#isHeld) return true;
    const { callsInFlight, isBehind } = this.#session;
    if (isExec(frame) && callsInFlight >= this.#limits.maxRequestsInFlight) return true;
    return isBehind && !(isShort(frame) && this.#hasRoom);
  }

  /** The output queue has room for the longest result of every call in flight and of one more. */
  get #hasRoom(): boolean {
    const { callsInFlight, queuedBytes } = this.#session;
    const { maxResultBytes, maxQueuedBytes } = this.#limits;
    return queuedBytes + (callsInFlight + 1) * maxResultBytes <= maxQueuedBytes;
  }

  /** A client that stays within its limits is always read, so that its cancels and its end are seen. */
  #mustPause(): boolean {
    // Reading goes on for a connection that is held, or its end would not be seen.
    if (this.#isHeld) return !isLittle(this.#waiting);
    const { isBehind } = this.#session;
    const mayPass = isBehind && this.#hasRoom;
    if (this.#waiting.length === 0) return isBehind && !mayPass;
    // Lists and sources wait until the client has caught up. Short requests may follow a few of them.
    return !mayPass || this.#waiting.some(isShort) || !isLittle(this.#waiting);
  }
}

function isExec({ api, type }: Frame): boolean {
  return api === "mod" && type === "exec";
}

/** Its answer is likely to be short, and never longer than the longest result. */
function isShort(frame: Frame): boolean {
  return isExec(frame) || frame.api === "sys" || frame.type === "cancel";
}

/** Few enough that reading may go on. */
function isLittle(frames: readonly Frame[]): boolean {
  if (frames.length >= maxWaitingFrames) return false;
  return frames.reduce((sum, { json }) => sum + json.length, 0) < maxWaitingLength;
}
