import { Outbox } from "./outbox.ts";

/** One direction of a relay. */
export interface LinkOptions {
  /** How much later each byte arrives. */
  delayMs: number;
  /** How many bytes pass in a second; the rest waits in the relay's queue. */
  bytesPerSecond: number;
  /** The relay stops reading when its queue is this long. Unlimited by default, like a bloated buffer. */
  maxQueuedBytes: number;
  /**
   * A black hole: nothing arrives, not even the end of a connection. When the hole is removed, everything that it held
   * arrives late, as if TCP had sent it again.
   */
  isHole: boolean;
  /** A connection is reset once this many of its bytes, at least one, have passed. */
  cutAfterBytes: number;
}

/** The settings of one direction, which may be changed with `set` while connections are open, and what has passed. */
export class Link implements Readonly<LinkOptions> {
  delayMs = 0;
  bytesPerSecond = Number.POSITIVE_INFINITY;
  maxQueuedBytes = Number.POSITIVE_INFINITY;
  isHole = false;
  cutAfterBytes = Number.POSITIVE_INFINITY;
  /** Bytes that have passed, over all connections. */
  forwarded = 0;
  /** Called after each piece that passes, with the new value of `forwarded`. */
  onForwarded: ((bytes: number) => void) | undefined;
  readonly #changed: () => void;

  constructor(options: Partial<LinkOptions>, changed: () => void) {
    this.#changed = changed;
    Object.assign(this, options);
  }

  set(options: Partial<LinkOptions>): void {
    Object.assign(this, options);
    this.#changed();
  }

  count(bytes: number): void {
    this.forwarded += bytes;
    this.onForwarded?.(this.forwarded);
  }
}

/** What a lane needs of a socket. */
export type End = Pick<Bun.Socket, "write" | "shutdown" | "terminate" | "pause" | "resume">;

interface Item {
  /** When it arrives, if nothing ahead of it is late. */
  readonly dueAt: number;
  readonly what: Uint8Array | "fin" | "reset";
}

/** One direction of one connection. */
export class Lane {
  source: End | undefined;
  /** The FIN was passed on. */
  isOver = false;
  queuedBytes = 0;
  readonly #link: Link;
  readonly #ended: () => void;
  readonly #reset: () => void;
  readonly #outbox = new Outbox();
  #target: End | undefined;
  #items: Item[] = [];
  #freeAt = 0;
  #passed = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isCut = false;
  #isPaused = false;

  constructor(link: Link, source: End | undefined, { ended, cut }: { ended: () => void; cut: () => void }) {
    this.#link = link;
    this.#ended = ended;
    this.source = source;
    this.#reset = cut;
  }

  leadTo(target: End): void {
    this.#target = target;
    if (this.#isCut) target.terminate();
    else this.pump();
  }

  add(what: Item["what"]): void {
    if (this.#isCut) return;
    this.#items.push({ dueAt: performance.now() + this.#link.delayMs, what });
    if (typeof what === "object") this.queuedBytes += what.length;
    this.pump();
  }

  /** Passes on what is due. */
  pump(): void {
    clearTimeout(this.#timer);
    while (!this.#isCut && this.#target !== undefined && !this.#link.isHole) {
      const first = this.#items[0];
      if (first === undefined) break;
      const now = performance.now();
      const waitMs = Math.max(first.dueAt, this.#freeAt) - now;
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.pump(), waitMs);
        break;
      }
      this.#items.shift();
      this.#pass(first, now);
    }
    this.#slowDown();
  }

  #pass({ what, dueAt }: Item, now: number): void {
    if (what === "reset") this.#reset();
    else if (what === "fin") {
      this.isOver = true;
      this.flush();
    } else {
      const { bytesPerSecond, cutAfterBytes } = this.#link;
      // A fiftieth of a second at a time, so that the rate is smooth.
      const room = Math.max(1, Math.ceil(bytesPerSecond / 50));
      const piece = what.subarray(0, Math.min(room, cutAfterBytes - this.#passed));
      if (piece.length < what.length) this.#items.unshift({ what: what.subarray(room), dueAt });
      this.#freeAt = now + (piece.length * 1_000) / bytesPerSecond;
      this.queuedBytes -= piece.length;
      this.#passed += piece.length;
      this.#outbox.add(piece);
      this.flush();
      this.#link.count(piece.length);
      if (this.#passed >= cutAfterBytes) this.#reset();
    }
  }

  flush(): void {
    if (this.#target === undefined || this.#isCut) return;
    this.#outbox.flush(this.#target);
    if (this.isOver && this.#outbox.bytes === 0) {
      this.#target.shutdown();
      this.#ended();
    }
  }

  #slowDown(): void {
    const isFull = this.queuedBytes >= this.#link.maxQueuedBytes;
    if (isFull === this.#isPaused || this.source === undefined || this.#isCut) return;
    this.#isPaused = isFull;
    if (isFull) this.source.pause();
    else this.source.resume();
  }

  cut(): void {
    this.#isCut = true;
    clearTimeout(this.#timer);
    this.#items = [];
    this.queuedBytes = 0;
    this.#target?.terminate();
  }
}
