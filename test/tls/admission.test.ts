import { describe, expect, test } from "bun:test";
import { networkOf, plainAddress, socketAddress } from "../../src/tls/address.ts";
import { Admission, type Droppable, type Visitor } from "../../src/tls/admission.ts";

const limits = { maxHandshakes: 100, maxHandshakesPerAddress: 10, handshakesPerSecond: 2, handshakeBurst: 4 };

/** An admission with a clock that only `pass` moves. */
function admission(overrides: Partial<typeof limits> = {}) {
  let now = 1_000;
  const gate = new Admission({ ...limits, ...overrides }, () => now);
  const pass = (ms: number) => {
    now += ms;
  };
  /** The handshakes that were dropped to make room, by their names. */
  const dropped: string[] = [];
  /** Begins a handshake: how to end it, or why it may not begin. */
  const begin = (ip: string, name = ip): (() => void) | string => {
    let visitor: Visitor | undefined;
    const end = () => {
      if (visitor !== undefined) gate.leave(visitor, handshake);
      visitor = undefined;
    };
    const handshake: Droppable = {
      drop: () => {
        dropped.push(name);
        end();
      },
    };
    const entered = gate.enter(ip, handshake);
    if (typeof entered === "string") return entered;
    visitor = entered;
    return end;
  };
  /** Begins a handshake and ends it at once. */
  const visit = (ip: string): string => {
    const end = begin(ip);
    if (typeof end === "string") return end;
    end();
    return "in";
  };
  return { gate, pass, dropped, begin, visit };
}

const isIn = (outcome: (() => void) | string) => typeof outcome === "function";

describe("admission", () => {
  test("an address may come as often as its burst, then at its rate", () => {
    const { pass, visit } = admission();
    expect(Array.from({ length: 5 }, () => visit("192.0.2.1"))).toEqual([
      "in",
      "in",
      "in",
      "in",
      "rate_limited",
    ]);
    pass(499);
    expect(visit("192.0.2.1")).toBe("rate_limited");
    pass(1);
    expect(visit("192.0.2.1")).toBe("in");
    expect(visit("192.0.2.1")).toBe("rate_limited");
    pass(3_600_000);
    expect(Array.from({ length: 5 }, () => visit("192.0.2.1"))).toEqual([
      "in",
      "in",
      "in",
      "in",
      "rate_limited",
    ]);
  });

  test("one address that has come too often does not keep another out", () => {
    const { visit } = admission();
    for (let count = 0; count < 10; count++) visit("192.0.2.1");
    expect(visit("192.0.2.2")).toBe("in");
  });

  test("a whole IPv6 /64 counts as one address, the next one does not", () => {
    const { visit } = admission();
    for (let host = 1; host <= 4; host++) expect(visit(`2001:db8:1:2::${host}`)).toBe("in");
    expect(visit("2001:db8:1:2:3:4:5:6")).toBe("rate_limited");
    expect(visit("2001:db8:1:3::1")).toBe("in");
  });

  test("handshakes at once are limited per address, and leaving makes room", () => {
    const { gate, begin, dropped } = admission({ maxHandshakesPerAddress: 2 });
    const end = begin("192.0.2.1") as () => void;
    begin("192.0.2.1");
    expect(begin("192.0.2.1")).toBe("too_many_handshakes");
    expect(isIn(begin("192.0.2.2"))).toBe(true);
    expect(gate.handshakes).toBe(3);
    end();
    expect(isIn(begin("192.0.2.1"))).toBe(true);
    expect(dropped).toEqual([]);
  });

  test("being turned away costs no token", () => {
    const { begin, visit } = admission({ maxHandshakesPerAddress: 1 });
    const end = begin("192.0.2.1") as () => void;
    for (let count = 0; count < 50; count++) expect(visit("192.0.2.1")).toBe("too_many_handshakes");
    end();
    expect([1, 2, 3, 4].map(() => visit("192.0.2.1"))).toEqual(["in", "in", "in", "rate_limited"]);
  });

  test("a flood from ever new addresses is forgotten again, one with a handshake under way is not", () => {
    const { gate, begin, visit } = admission({ maxHandshakesPerAddress: 1 });
    const end = begin("192.0.2.1") as () => void;
    for (let number = 0; number < 10_000; number++) visit(`10.1.${number >> 8}.${number & 255}`);
    expect(visit("192.0.2.1")).toBe("too_many_handshakes");
    end();
    expect(gate.handshakes).toBe(0);
  });
});

describe("when all places are taken", () => {
  test("the oldest handshake of the address that holds most makes room for a newcomer", () => {
    const { gate, begin, dropped } = admission({ maxHandshakes: 6 });
    for (const name of ["a1", "a2"]) begin("192.0.2.1", name);
    for (const name of ["b1", "b2", "b3"]) begin("192.0.2.2", name);
    begin("192.0.2.3", "c1");
    expect(isIn(begin("192.0.2.4", "d1"))).toBe(true);
    expect(dropped).toEqual(["b1"]);
    expect(gate.handshakes).toBe(6);
  });

  test("an address that holds most itself pushes out no other", () => {
    const { begin, dropped } = admission({ maxHandshakes: 4 });
    for (const name of ["a1", "a2", "a3"]) begin("192.0.2.1", name);
    begin("192.0.2.2", "b1");
    expect(begin("192.0.2.1", "a4")).toBe("too_many_handshakes");
    expect(dropped).toEqual([]);
    // And with as many as any other it is no better.
    const even = admission({ maxHandshakes: 4 });
    for (const ip of ["192.0.2.1", "192.0.2.2"]) for (const name of ["1", "2"]) even.begin(ip, name);
    expect(even.begin("192.0.2.1")).toBe("too_many_handshakes");
    expect(even.dropped).toEqual([]);
  });

  test("of addresses that hold as many, the one that came to hold as many first gives way", () => {
    const { begin, dropped } = admission({ maxHandshakes: 4 });
    for (const name of ["a1", "b1", "b2", "a2"])
      begin(name.startsWith("a") ? "192.0.2.1" : "192.0.2.2", name);
    begin("192.0.2.3", "c1");
    begin("192.0.2.4", "d1");
    expect(dropped).toEqual(["b1", "a1"]);
  });

  test("and each address holds one, the oldest of all gives way", () => {
    const { begin, dropped } = admission({ maxHandshakes: 256 });
    for (let number = 0; number < 256; number++) begin(`192.0.2.${number}`);
    begin("198.51.100.1");
    begin("198.51.100.2");
    expect(dropped).toEqual(["192.0.2.0", "192.0.2.1"]);
    // They can't push out others while they hold one, and come back as the youngest.
    expect(begin("192.0.2.2")).toBe("too_many_handshakes");
    begin("192.0.2.0");
    expect(dropped.at(-1)).toBe("192.0.2.2");
  });

  test("the addresses of one IPv6 /64 are one that holds most", () => {
    const { begin, dropped } = admission({ maxHandshakes: 4 });
    begin("192.0.2.1", "honest");
    for (let host = 1; host <= 3; host++) begin(`2001:db8:1:2::${host}`, `host ${host}`);
    for (let host = 4; host <= 6; host++) {
      expect(begin(`2001:db8:1:2::${host}`)).toBe("too_many_handshakes");
    }
    begin("2001:db8:1:3::1", "other network");
    begin("192.0.2.2", "late");
    expect(dropped).toEqual(["host 1", "host 2"]);
  });

  test("an address without a token left pushes out no other", () => {
    const { begin, dropped, visit, pass } = admission({ maxHandshakes: 2 });
    for (let count = 0; count < 4; count++) visit("192.0.2.9");
    begin("192.0.2.1", "a1");
    begin("192.0.2.1", "a2");
    expect(begin("192.0.2.9")).toBe("rate_limited");
    expect(dropped).toEqual([]);
    pass(500);
    expect(isIn(begin("192.0.2.9"))).toBe(true);
    expect(dropped).toEqual(["a1"]);
  });

  test("eight addresses that come back without a pause drop only each other, never the ninth", () => {
    const { gate, begin, dropped, pass } = admission({
      maxHandshakes: 256,
      maxHandshakesPerAddress: 64,
      handshakesPerSecond: 100,
      handshakeBurst: 200,
    });
    const attackers = Array.from({ length: 8 }, (_, index) => `198.51.100.${index + 1}`);
    const flood = () => {
      for (let round = 0; round < 100; round++) for (const ip of attackers) begin(ip);
    };
    flood();
    expect(gate.handshakes).toBe(256);
    expect(isIn(begin("192.0.2.1", "honest"))).toBe(true);
    // Two round trips of 300 ms later it still has its place.
    for (let ms = 0; ms < 600; ms += 10) {
      flood();
      pass(10);
    }
    expect(dropped).not.toContain("honest");
    expect(gate.handshakes).toBe(256);
  });

  test("the places are counted right, whatever comes and goes", () => {
    const { gate, begin } = admission({ maxHandshakes: 20, handshakeBurst: 100_000 });
    const ends: (() => void)[] = [];
    let seed = 1;
    const random = (below: number) => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % below;
    };
    for (let step = 0; step < 20_000; step++) {
      if (random(3) === 0) ends.splice(random(ends.length + 1), 1)[0]?.();
      else {
        const end = begin(`192.0.2.${random(30)}`);
        if (typeof end === "function") ends.push(end);
      }
      expect(gate.handshakes).toBeLessThanOrEqual(20);
    }
    for (const end of ends) end();
    expect(gate.handshakes).toBe(0);
  });
});

describe("addresses", () => {
  test("are written so that the port can be told from the rest", () => {
    expect(socketAddress("192.0.2.1", 1)).toBe("192.0.2.1:1");
    expect(socketAddress("2001:db8::1", 1)).toBe("[2001:db8::1]:1");
  });

  test.each([
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["192.0.2.1", "192.0.2.1"],
    ["2001:db8::1", "2001:db8::1"],
    ["::ffff:1", "::ffff:1"],
  ])("%s is plainly %s", (given, plain) => {
    expect(plainAddress(given)).toBe(plain);
  });

  test.each([
    ["192.0.2.1", "192.0.2.1"],
    ["::1", "0:0:0:0::/64"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:db8:1:2::", "2001:db8:1:2::/64"],
    ["2001::2:3:4:5:6", "2001:0:0:2::/64"],
  ])("%s counts as %s", (given, network) => {
    expect(networkOf(given)).toBe(network);
  });
});
