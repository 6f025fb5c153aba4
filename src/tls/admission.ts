import type { Limits } from "../base/limits.ts";
import { TokenBucket } from "../base/token-bucket.ts";
import { networkOf } from "./address.ts";

export type AdmissionLimits = Pick<
  Limits,
  "maxHandshakes" | "maxHandshakesPerAddress" | "handshakesPerSecond" | "handshakeBurst"
>;

/** A handshake in progress. */
export interface Droppable {
  /** Ends it to make room for another. Must call `leave` before it returns. */
  drop(): void;
}

/** An address, or an IPv6 /64, that has connected recently. */
export interface Visitor {
  readonly network: string;
  /** Its handshakes in progress, oldest first. */
  readonly handshakes: Set<Droppable>;
  /** Handshakes that it may still begin now. */
  readonly bucket: TokenBucket;
}

/** How many are remembered. Beyond that the least recent one is forgotten, and starts again with a full burst. */
const maxVisitors = 4_096;

/**
 * Decides who may begin a handshake, the only expensive work that a stranger can cause. Each address has a token bucket
 * and a limit of unfinished handshakes. When all places are taken, the address with the most handshakes loses its
 * oldest one: strangers who fill the places displace only each other. Memory use is bounded.
 */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #now: () => number;
  /** In the order in which they last connected. */
  readonly #visitors = new Map<string, Visitor>();
  /** Visitors by their number of handshakes, in the order in which they reached it. */
  readonly #holding: Set<Visitor>[] = [];
  /** The largest number of handshakes of any visitor. */
  #most = 0;
  #handshakes = 0;

  /** `now` in milliseconds, monotonic. */
  constructor(limits: AdmissionLimits, now = () => performance.now()) {
    this.#limits = limits;
    this.#now = now;
  }

  /** Handshakes in progress. */
  get handshakes(): number {
    return this.#handshakes;
  }

  /**
   * Lets a connection from `ip` begin its handshake, and drops another one if there is no room for both. Returns the
   * visitor to pass to `leave`, or why the connection may not begin.
   */
  enter(ip: string, handshake: Droppable): Visitor | "too_many_handshakes" | "rate_limited" {
    const now = this.#now();
    const visitor = this.#visitor(networkOf(ip), now);
    const { maxHandshakes, maxHandshakesPerAddress } = this.#limits;
    if (visitor.handshakes.size >= maxHandshakesPerAddress) return "too_many_handshakes";
    if (!visitor.bucket.has(1, now)) return "rate_limited";
    if (this.#handshakes >= maxHandshakes && !this.#makeRoomFor(visitor)) return "too_many_handshakes";
    visitor.bucket.take(1, now);
    visitor.handshakes.add(handshake);
    this.#changed(visitor, +1);
    return visitor;
  }

  /** Call this once for each handshake that was let in, when it has ended in any way. */
  leave(visitor: Visitor, handshake: Droppable): void {
    visitor.handshakes.delete(handshake);
    this.#changed(visitor, -1);
  }

  /** False when no address holds more handshakes than the newcomer's, which then has to wait. */
  #makeRoomFor(newcomer: Visitor): boolean {
    if (newcomer.handshakes.size >= this.#most) return false;
    const [fullest] = this.#holding[this.#most] ?? [];
    const [oldest] = fullest?.handshakes ?? [];
    oldest?.drop();
    return oldest !== undefined;
  }

  #changed(visitor: Visitor, by: 1 | -1): void {
    const { size } = visitor.handshakes;
    this.#handshakes += by;
    this.#holding[size - by]?.delete(visitor);
    if (size > 0) {
      this.#holding[size] ??= new Set();
      this.#holding[size].add(visitor);
    }
    if (size > this.#most) this.#most = size;
    else if (this.#holding[this.#most]?.size === 0) this.#most -= 1;
  }

  #visitor(network: string, now: number): Visitor {
    const { handshakeBurst, handshakesPerSecond } = this.#limits;
    const known = this.#visitors.get(network);
    if (known !== undefined) this.#visitors.delete(network);
    else if (this.#visitors.size >= maxVisitors) this.#forgetOne();
    const visitor = known ?? {
      network,
      handshakes: new Set<Droppable>(),
      bucket: new TokenBucket(handshakeBurst, handshakesPerSecond, now),
    };
    this.#visitors.set(network, visitor);
    return visitor;
  }

  /** Forgets the least recent visitor without a handshake. Those with one are few, and must stay counted. */
  #forgetOne(): void {
    for (const { network, handshakes } of this.#visitors.values()) {
      if (handshakes.size > 0) continue;
      this.#visitors.delete(network);
      return;
    }
  }
}
