import { describe, expect, test } from "bun:test";
import { networkOf, plainAddress, socketAddress } from "../../src/tls/address.ts";
import { Admission, type Visitor } from "../../src/tls/admission.ts";

const limits = { maxHandshakes: 100, maxHandshakesPerAddress: 10, handshakesPerSecond: 2, handshakeBurst: 4 };

/** An admission with a clock that only `pass` moves. */
function admission(overrides: Partial<typeof limits> = {}) {
  let now = 1_000;
  const gate = new Admission({ ...limits, ...overrides }, () => now);
  const pass = (ms: number) => {
    now += ms;
  };
  /** Begins a handshake and ends it at once. */
  const visit = (ip: string): string => {
    const entered = gate.enter(ip);
    if (typeof entered === "string") return entered;
    gate.leave(entered);
    return "in";
  };
  return { gate, pass, visit };
}

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

  test("handshakes at once are limited per address and in all, and leaving makes room", () => {
    const { gate } = admission({ maxHandshakes: 3, maxHandshakesPerAddress: 2 });
    const first = gate.enter("192.0.2.1") as Visitor;
    gate.enter("192.0.2.1");
    expect(gate.enter("192.0.2.1")).toBe("too_many_handshakes");
    gate.enter("192.0.2.2");
    expect(gate.enter("192.0.2.3")).toBe("too_many_handshakes");
    expect(gate.handshakes).toBe(3);
    gate.leave(first);
    expect(typeof gate.enter("192.0.2.1")).toBe("object");
    expect(gate.enter("192.0.2.3")).toBe("too_many_handshakes");
  });

  test("being turned away costs no token", () => {
    const { gate, visit } = admission({ maxHandshakesPerAddress: 1 });
    const held = gate.enter("192.0.2.1") as Visitor;
    for (let count = 0; count < 50; count++) expect(visit("192.0.2.1")).toBe("too_many_handshakes");
    gate.leave(held);
    expect([1, 2, 3, 4].map(() => visit("192.0.2.1"))).toEqual(["in", "in", "in", "rate_limited"]);
  });

  test("a flood from ever new addresses is forgotten again, one with a handshake under way is not", () => {
    const { gate, visit } = admission({ maxHandshakesPerAddress: 1 });
    const held = gate.enter("192.0.2.1") as Visitor;
    for (let number = 0; number < 10_000; number++) visit(`10.1.${number >> 8}.${number & 255}`);
    expect(visit("192.0.2.1")).toBe("too_many_handshakes");
    gate.leave(held);
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
