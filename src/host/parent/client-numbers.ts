import type { CallClient } from "../call.ts";

/** How many clients a host remembers. The next one replaces the oldest. */
const size = 256;

/**
 * Numbers for the clients of calls, so that a fingerprint is sent to a host once and not with every call. The host keeps
 * the same table; it agrees because frames stay in order.
 */
export class ClientNumbers {
  readonly #numbers = new Map<string, number>();
  readonly #clients: CallClient[] = [];
  #next = 0;

  /** The client's number. Calls `announce` first if the host does not know it yet. */
  numberOf(client: CallClient, announce: (number: number, client: CallClient) => void): number {
    const known = this.#numbers.get(client.fingerprint);
    if (known !== undefined && this.#clients[known]?.name === client.name) return known;
    const number = known ?? this.#next++ % size;
    const former = this.#clients[number];
    if (former !== undefined) this.#numbers.delete(former.fingerprint);
    this.#numbers.set(client.fingerprint, number);
    this.#clients[number] = client;
    announce(number, client);
    return number;
  }
}
