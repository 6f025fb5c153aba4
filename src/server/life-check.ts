import { type Deadline, deadlines, type Expirable } from "../base/deadlines.ts";
import type { Limits } from "../base/limits.ts";

/** What the check looks at: the server's side of a connection. */
export interface CheckedConnection {
  /** Output that the client has not taken yet. */
  readonly queuedBytes: number;
  /** The client takes its answers too slowly. */
  readonly isBehind: boolean;
  /** This side does not read, being at work. */
  readonly isPaused: boolean;
  ping(): void;
  close(code: "timeout", message: string): void;
}

/** Whether a client is alive: a first request in time, then a frame at least every `idleMs`, a pong for one. */
export class LifeCheck {
  readonly #connection: CheckedConnection;
  readonly #limits: Pick<Limits, "idleMs" | "firstRequestMs">;
  #framesSeen = 0;
  #framesAtLastCheck = 0;
  #queuedAtLastCheck = 0;
  #wasPinged = false;
  #deadline: Deadline;
  #heardAt = performance.now();
  #probe: Probe | undefined;

  constructor(connection: CheckedConnection, limits: Pick<Limits, "idleMs" | "firstRequestMs">) {
    this.#connection = connection;
    this.#limits = limits;
    this.#deadline = deadlines.arm(this, limits.firstRequestMs);
  }

  /** To be called for every frame. After the first one it is the idle time that counts. */
  frameCame(): void {
    this.#framesSeen += 1;
    if (this.#framesSeen > 1) return;
    this.#deadline.disarm();
    this.#deadline = deadlines.arm(this, this.#limits.idleMs / 2);
  }

  /** To be called for whatever arrives, half a frame included. */
  bytesCame(): void {
    this.#heardAt = performance.now();
    this.#probe?.end(true);
  }

  /** When something last came, by `performance.now()`. */
  get heardAt(): number {
    return this.#heardAt;
  }

  /**
   * Whether the client shows life within `ms`: any byte that comes counts, and output that it takes. It is pinged for
   * that. False once the connection has ended. One at a time.
   */
  async probe(ms: number): Promise<boolean> {
    this.#connection.ping();
    // Until the ping has left, or has not: it is no output that the client takes.
    await Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#probe = new Probe(this.#connection, ms, resolve);
    const isAlive = await promise;
    this.#probe = undefined;
    return isAlive;
  }

  stop(): void {
    this.#deadline.disarm();
    this.#probe?.end(false);
  }

  expire(): void {
    const { idleMs, firstRequestMs } = this.#limits;
    if (this.#framesSeen === 0) {
      this.#connection.close("timeout", `No request came within ${firstRequestMs} ms of the handshake.`);
      return;
    }
    if (this.#showsLife()) {
      this.#wasPinged = false;
    } else if (this.#wasPinged) {
      this.#connection.close("timeout", `Nothing came for ${idleMs} ms, nor an answer to a ping.`);
      return;
    } else {
      this.#wasPinged = true;
      this.#connection.ping();
    }
    this.#framesAtLastCheck = this.#framesSeen;
    this.#queuedAtLastCheck = this.#connection.queuedBytes;
    this.#deadline = deadlines.arm(this, idleMs / 2);
  }

  /** Since the last check something came, or left; or it is this side that does not read. */
  #showsLife(): boolean {
    if (this.#framesSeen !== this.#framesAtLastCheck) return true;
    const { isBehind, isPaused, queuedBytes } = this.#connection;
    return isBehind ? queuedBytes < this.#queuedAtLastCheck : isPaused;
  }
}

/** The wait for a sign of life. */
class Probe implements Expirable {
  readonly #connection: CheckedConnection;
  readonly #queuedBefore: number;
  readonly #deadline: Deadline;
  readonly #done: (isAlive: boolean) => void;

  constructor(connection: CheckedConnection, ms: number, done: (isAlive: boolean) => void) {
    this.#connection = connection;
    this.#queuedBefore = connection.queuedBytes;
    this.#done = done;
    this.#deadline = deadlines.arm(this, ms);
  }

  end(isAlive: boolean): void {
    this.#deadline.disarm();
    this.#done(isAlive);
  }

  expire(): void {
    const { queuedBytes, isBehind, isPaused } = this.#connection;
    // Where this side does not read, nothing can come.
    this.end(queuedBytes < this.#queuedBefore || (isPaused && !isBehind));
  }
}
