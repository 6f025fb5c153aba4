import { deadlines, type Expirable } from "../base/deadlines.ts";
import { networkOf } from "./address.ts";
import { dropSyns } from "./syn-filter.ts";

const maxTurnedAwayPerSecond = 200;
/** The kernel would take more; each is compared with every packet to the listening socket. */
const maxBlocked = 256;

/**
 * An address that has been turned away 200 times within a second can't connect for the rest of it: the kernel drops
 * its packets. Bun accepts until no connection waits, at some 35 µs each, so a single program that connects and hangs
 * up in a loop could keep the event loop from everything else for seconds.
 */
export class FloodGuard implements Expirable {
  readonly #listeners: () => readonly number[];
  readonly #turnedAway = new Map<string, number>();
  readonly #blocked: string[] = [];

  /** `listeners`: the descriptors of the listening sockets as they are now. */
  constructor(listeners: () => readonly number[]) {
    this.#listeners = listeners;
  }

  /** A connection was not let in. Nothing is counted for one whose address is not known. */
  turnedAway(ip: string | undefined): void {
    if (ip === undefined) return;
    const network = networkOf(ip);
    const count = (this.#turnedAway.get(network) ?? 0) + 1;
    if (this.#turnedAway.size === 0) deadlines.arm(this, 1_000);
    this.#turnedAway.set(network, count);
    if (count !== maxTurnedAwayPerSecond || this.#blocked.length >= maxBlocked) return;
    this.#blocked.push(network);
    this.#apply();
  }

  /** A second is over. */
  expire(): void {
    this.#turnedAway.clear();
    if (this.#blocked.length === 0) return;
    this.#blocked.length = 0;
    this.#apply();
  }

  #apply(): void {
    for (const listener of this.#listeners()) dropSyns(listener, this.#blocked);
  }
}
