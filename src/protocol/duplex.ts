import type { VeripyError } from "../base/errors.ts";
import type { Lane } from "./fair-queue.ts";

/** Why a duplex ended. `undefined` means an orderly end: either side closed it. */
export type CloseReason = VeripyError | undefined;

/** What a duplex calls. `closed` comes exactly once, last. */
export interface DuplexHandler {
  /** The transport reuses the chunk after this call: copy what must outlive it. */
  data(chunk: Uint8Array): void;
  /** Some of a long queue has left. `isFull` and `isHigh` say whether writers may go on. */
  drained?(): void;
  closed(reason: CloseReason): void;
}

/**
 * A stream of bytes in both directions, independent of its transport. Text that is written while one event is handled
 * leaves in one write. What the transport does not accept at once is queued, up to a limit, and leaves in the order
 * that `FairQueue` gives it.
 */
export interface Duplex {
  /** Bytes accepted but not yet handed to the transport. */
  readonly queuedBytes: number;
  /** The queue is so long that streams should wait. `drained` follows, at the latest when the queue is empty. */
  readonly isFull: boolean;
  /** The queue went over the high-water mark and has not been empty since. */
  readonly isHigh: boolean;
  readonly isClosed: boolean;
  /** Starts delivery, including what has already arrived. Call it once. */
  attach(handler: DuplexHandler): void;
  /**
   * Queues text. Ignored after the end, which `closed` reports. With `mayWait`, the text leaves only when everything
   * that has arrived by now has been handled; use it for broadcasts, which tend to come in groups. Text of one lane
   * stays in order; text without a lane stays in order with everything.
   */
  write(text: string, mayWait?: boolean, lane?: Lane): void;
  /** Stops reading, so that the queue grows at the peer and not here. */
  pause(): void;
  resume(): void;
  /** Sends what is queued, then closes the transport. Whatever arrives meanwhile is discarded. Idempotent. */
  close(): void;
  /** Closes at once and discards what is queued. Idempotent; the first reason stands. */
  abort(reason: VeripyError): void;
}
