import type { Limits } from "../base/limits.ts";
import { networkOf } from "./address.ts";

export type AdmissionLimits = Pick<
  Limits,
  "maxHandshakes" | "maxHandshakesPerAddress" | "handshakesPerSecond" | "handshakeBurst"
>;

/** One address, or one IPv6 /64, that has connected lately. */
export interface Visitor {
  readonly network: string;
  handshakes: number;
  /** Handshakes that it may still begin now. */
  tokens: number;
  refilledAt: number;
}

/** More is not remembered: whoever comes from that many addresses is not held by a limit for each. */
const maxVisitors = 4_096;

/**
 * Who may begin a handshake, the one costly thing that a stranger can make us do: so many at once in all and from
 * one address, and for each address a token bucket. Memory is bounded.
 */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #now: () => number;
  /** The one that came last is last. */
  readonly #visitors = new Map<string, Visitor>();
  #handshakes = 0;

  /** `now` in milliseconds, monotonic. */
  constructor(limits: AdmissionLimits, now = () => performance.now()) {
    this.#limits = limits;
    this.#now = now;
  }

  /** Handshakes under way. */
  get handshakes(): number {
    return this.#handshakes;
  }

  /** Lets a connection begin its handshake, to be given back to `leave`; or says why not. */
  enter(ip: string): Visitor | "too_many_handshakes" | "rate_limited" {
    if (this.#handshakes >= this.#limits.maxHandshakes) return "too_many_handshakes";
    const visitor = this.#visitor(networkOf(ip));
    if (visitor.handshakes >= this.#limits.maxHandshakesPerAddress) return "too_many_handshakes";
    if (visitor.tokens < 1) return "rate_limited";
    visitor.tokens -= 1;
    visitor.handshakes += 1;
    this.#handshakes += 1;
    return visitor;
  }

  /** The handshake is over, whichever way. */
  leave(visitor: Visitor): void {
    visitor.handshakes -= 1;
    this.#handshakes -= 1;
  }

  #visitor(network: string): Visitor {
    const now = this.#now();
    const known = this.#visitors.get(network);
    if (known === undefined) {
      if (this.#visitors.size >= maxVisitors) this.#forgetOne();
      const visitor = { network, handshakes: 0, tokens: this.#limits.handshakeBurst, refilledAt: now };
      this.#visitors.set(network, visitor);
      return visitor;
    }
    const refill = ((now - known.refilledAt) / 1_000) * this.#limits.handshakesPerSecond;
    known.tokens = Math.min(this.#limits.handshakeBurst, known.tokens + refill);
    known.refilledAt = now;
    this.#visitors.delete(network);
    this.#visitors.set(network, known);
    return known;
  }

  /** The one that was quiet longest. Those with a handshake under way are few, and must stay countable. */
  #forgetOne(): void {
    for (const { network, handshakes } of this.#visitors.values()) {
      if (handshakes > 0) continue;
      this.#visitors.delete(network);
      return;
    }
  }
}
