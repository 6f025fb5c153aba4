import { type Deadline, deadlines, type Expirable } from "../base/deadlines.ts";
import type { Limits } from "../base/limits.ts";

/** The server's side of a connection, as the check sees it. */
export interface CheckedConnection {
  /** Output that the client has not taken yet. */
  readonly queuedBytes: number;
  /** The client takes its answers too slowly. */
  readonly isBehind: boolean;
  /** This side is busy and does not read. */
  readonly isPaused: boolean;
  ping(): void;
  close(code: "timeout", message: string): void;
}

/** Closes the connection of a dead client: the first request must come in time, then a frame (such as a pong) every `idleMs`. */
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

  /** To be called for every frame. After the first one, the idle timeout applies. */
  frameCame(): void {
    this.#framesSeen += 1;
    if (this.#framesSeen > 1) return;
    this.#deadline.disarm();
    this.#deadline = deadlines.arm(this, this.#limits.idleMs / 2);
  }

  /** To be called whenever bytes arrive, even half a frame. */
  bytesCame(): void {
    this.#heardAt = performance.now();
    this.#probe?.end(true);
  }

  /** When something last came, by `performance.now()`. */
  get heardAt(): number {
    return this.#heardAt;
  }

  /**
   * Pings the client. Resolves with whether it shows life within `ms`: any byte that arrives counts, and so does output
   * that it takes. False once the connection has ended. One probe at a time.
   */
  async probe(ms: number): Promise<boolean> {
    this.#connection.ping();
    // Lets the ping be sent first, so that it does not count as output that the client takes.
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
      this.#connection.close("timeout", `No request within ${firstRequestMs} ms of the handshake.`);
      return;
    }
    if (this.#showsLife()) {
      this.#wasPinged = false;
    } else if (this.#wasPinged) {
      this.#connection.close("timeout", `Nothing received for ${idleMs} ms, not even an answer to a ping.`);
      return;
    } else {
      this.#wasPinged = true;
      this.#connection.ping();
    }
    this.#framesAtLastCheck = this.#framesSeen;
    this.#queuedAtLastCheck = this.#connection.queuedBytes;
    this.#deadline = deadlines.arm(this, idleMs / 2);
  }

  /** Since the last check, something arrived or was taken; or this side does not read. */
  #showsLife(): boolean {
    if (this.#framesSeen !== this.#framesAtLastCheck) return true;
    const { isBehind, isPaused, queuedBytes } = this.#connection;
    return isBehind ? queuedBytes < this.#queuedAtLastCheck : isPaused;
  }
}

/** Waits for one sign of life. */
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
    // While this side does not read, nothing can arrive.
    this.end(queuedBytes < this.#queuedBefore || (isPaused && !isBehind));
  }
}
