import { deadlines, type Expirable } from "../base/deadlines.ts";
import { networkOf } from "./address.ts";
import { dropSyns } from "./syn-filter.ts";

const maxTurnedAwayPerSecond = 200;
/** The kernel would accept more, but compares every packet to the listening socket with each of them. */
const maxBlocked = 256;

/**
 * An address that was refused 200 times within a second can't connect for the rest of that second: the kernel drops its
 * packets. Bun accepts connections until none is waiting, at 35 µs each, so a single program that connects and hangs up
 * in a loop could block the event loop for seconds.
 */
export class FloodGuard implements Expirable {
  readonly #listeners: () => readonly number[];
  readonly #turnedAway = new Map<string, number>();
  readonly #blocked: string[] = [];

  /** `listeners` returns the current descriptors of the listening sockets. */
  constructor(listeners: () => readonly number[]) {
    this.#listeners = listeners;
  }

  /** Counts a refused connection. One whose address is unknown is not counted. */
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

  /** The second has passed. */
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
