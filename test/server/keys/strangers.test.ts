import { describe, expect, test } from "bun:test";
import type { Fingerprint } from "../../../src/identity/fingerprint.ts";
import type { Duplex, DuplexHandler } from "../../../src/protocol/duplex.ts";
import { maxStrangers, Stranger, Strangers } from "../../../src/server/keys/strangers.ts";
import type { Peer } from "../../../src/tls/peer.ts";

/** The server's side of a connection: what the test says has come, and what was done with it. */
class FakeDuplex implements Duplex {
  readonly queuedBytes = 0;
  readonly isFull = false;
  readonly isHigh = false;
  isClosed = false;
  isPaused = false;
  written = "";
  #handler: DuplexHandler | undefined;

  attach(handler: DuplexHandler): void {
    this.#handler = handler;
  }
  come(text: string): void {
    this.#handler?.data(new TextEncoder().encode(text));
  }
  write(text: string): void {
    this.written += text;
  }
  pause(): void {
    this.isPaused = true;
  }
  resume(): void {
    this.isPaused = false;
  }
  /** The other end has yet to say its own goodbye. */
  close(): void {}
  abort(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#handler?.closed(undefined);
  }
}

class Door {
  readonly strangers = new Strangers();
  readonly heard: string[] = [];

  enter(remoteAddress: string): { stranger: Stranger; duplex: FakeDuplex } {
    const duplex = new FakeDuplex();
    const peer: Peer = {
      fingerprint: "a".repeat(64) as Fingerprint,
      address: `${remoteAddress}:1`,
      remoteAddress,
      duplex,
      exportKeyingMaterial: () => new Uint8Array(),
    };
    const stranger = new Stranger(peer, 60_000, {
      onLine: ({ api, type, json }) => this.heard.push(`${api}:${type} ${json}`),
      onClosed: () => this.strangers.delete(stranger),
    });
    this.strangers.add(stranger);
    return { stranger, duplex };
  }

  enterAll(addresses: readonly string[]): FakeDuplex[] {
    return addresses.map((address) => this.enter(address).duplex);
  }
}

const times = (count: number, address: string) => Array.from({ length: count }, () => address);
const open = (duplexes: readonly FakeDuplex[]) => duplexes.filter(({ isClosed }) => !isClosed).length;

describe("when there is no room for another stranger", () => {
  test("the oldest one of the address with the most is dropped", () => {
    const door = new Door();
    const honest = door.enterAll(["10.0.0.1", "10.0.0.2"]);
    const flood = door.enterAll(times(maxStrangers - 2, "10.0.0.9"));
    expect(open([...honest, ...flood])).toBe(maxStrangers);
    const late = door.enterAll(["10.0.0.3"]);
    expect(flood.map(({ isClosed }) => isClosed)).toEqual([
      true,
      ...times(maxStrangers - 3, "").map(() => false),
    ]);
    expect(open([...honest, ...late])).toBe(3);
  });

  test("an address that floods drops only its own, however many it sends", () => {
    const door = new Door();
    const honest = door.enterAll(["10.0.0.1"]);
    const flood = door.enterAll(times(200, "10.0.0.9"));
    expect([open(honest), open(flood), flood.at(-1)?.isClosed]).toEqual([1, maxStrangers - 1, false]);
  });

  test("eight addresses that flood drop each other's", () => {
    const door = new Door();
    const honest = door.enterAll(["10.0.0.1"]);
    const flood = door.enterAll(Array.from({ length: 400 }, (_, index) => `10.0.1.${index % 8}`));
    expect([open(honest), open(flood)]).toEqual([1, maxStrangers - 1]);
  });

  test("all of an IPv6 /64 count as one address", () => {
    const door = new Door();
    const honest = door.enterAll(["2001:db8:0:1::1"]);
    const flood = door.enterAll(Array.from({ length: 100 }, (_, index) => `2001:db8:0:2::${index + 1}`));
    expect([open(honest), open(flood)]).toEqual([1, maxStrangers - 1]);
  });

  test("the one that is being answered stays, since its code may already be spent", () => {
    const door = new Door();
    const { stranger, duplex } = door.enter("10.0.0.9");
    stranger.isBeingAnswered = true;
    const flood = door.enterAll(times(100, "10.0.0.9"));
    stranger.expire();
    expect([duplex.isClosed, open(flood)]).toEqual([false, maxStrangers - 1]);
    stranger.isBeingAnswered = false;
    stranger.expire();
    expect(duplex.isClosed).toBe(true);
  });
});

describe("a stranger", () => {
  test("is read for one line, even byte by byte, and not after it", () => {
    const door = new Door();
    const { duplex } = door.enter("10.0.0.1");
    for (const character of 'sys:join:1 {"a":1}') duplex.come(character);
    expect([duplex.isPaused, door.heard]).toEqual([false, []]);
    duplex.come("\n");
    expect([duplex.isPaused, duplex.isClosed]).toEqual([true, false]);
    expect(door.heard).toEqual(['sys:join {"a":1}']);
  });

  test("that sends more after its line is disconnected, before and after the answer", () => {
    for (const isAnswered of [false, true]) {
      const door = new Door();
      const { stranger, duplex } = door.enter("10.0.0.1");
      duplex.come("sys:join:1 {}\nsys:join:2 {}\n");
      if (isAnswered) stranger.answer("1", "{}");
      duplex.come("x");
      expect([duplex.isClosed, door.heard.length]).toEqual([true, 1]);
      expect([...door.strangers]).toEqual([]);
    }
  });
});
