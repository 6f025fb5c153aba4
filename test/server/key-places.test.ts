import { describe, expect, test } from "bun:test";
import { KeyPlaces, type PlaceHolder } from "../../src/server/key-places.ts";

/** A connection of a key. The test answers its probes. */
class FakeConnection implements PlaceHolder {
  readonly fingerprint: string;
  heardAt = Number.POSITIVE_INFINITY;
  state: "admitted" | "held" | "busy" | "timeout" = "admitted";
  probes = 0;
  readonly #probe = Promise.withResolvers<boolean>();

  constructor(fingerprint = "a") {
    this.fingerprint = fingerprint;
  }

  /** Nothing has come from it for a long time. */
  static silent(heardAt = -10_000): FakeConnection {
    const connection = new FakeConnection();
    connection.heardAt = heardAt;
    return connection;
  }

  probe(): Promise<boolean> {
    this.probes += 1;
    return this.#probe.promise;
  }

  hold(): void {
    this.state = "held";
  }

  admit(): void {
    this.state = "admitted";
  }

  close(code: "busy" | "timeout"): void {
    this.state = code;
  }

  async answers(isAlive: boolean): Promise<void> {
    this.#probe.resolve(isAlive);
    await Bun.sleep(0);
  }
}

function enter(places: KeyPlaces<FakeConnection>, max: number, ...connections: FakeConnection[]): string[] {
  for (const connection of connections) places.enter(connection, max);
  return connections.map(({ state }) => state);
}

describe("a key below its limit", () => {
  test("has each connection admitted, and other keys do not count", () => {
    const places = new KeyPlaces<FakeConnection>();
    const connections = [new FakeConnection("a"), new FakeConnection("a"), new FakeConnection("b")];
    expect(enter(places, 2, ...connections)).toEqual(["admitted", "admitted", "admitted"]);
  });
});

describe("a key at its limit", () => {
  test("has another connection refused when something has just come from all the others", () => {
    const places = new KeyPlaces<FakeConnection>();
    const inside = new FakeConnection();
    expect(enter(places, 1, inside, new FakeConnection())).toEqual(["admitted", "busy"]);
    expect(inside.probes).toBe(0);
  });

  test("has the longest silent connection closed if it does not answer, and its place given away", async () => {
    const places = new KeyPlaces<FakeConnection>();
    const [silent, longest, newcomer] = [
      FakeConnection.silent(-10_000),
      FakeConnection.silent(-20_000),
      new FakeConnection(),
    ];
    expect(enter(places, 2, silent, longest, newcomer)).toEqual(["admitted", "admitted", "held"]);
    expect([silent.probes, longest.probes]).toEqual([0, 1]);
    await longest.answers(false);
    expect([silent.state, longest.state, newcomer.state]).toEqual(["admitted", "timeout", "admitted"]);
  });

  test("keeps a silent connection that answers, and the newcomer is refused", async () => {
    const places = new KeyPlaces<FakeConnection>();
    const [silent, newcomer] = [FakeConnection.silent(), new FakeConnection()];
    enter(places, 1, silent, newcomer);
    silent.heardAt = Number.POSITIVE_INFINITY;
    await silent.answers(true);
    expect([silent.state, newcomer.state]).toEqual(["admitted", "busy"]);
  });

  test("gives the place of a connection that leaves to the newcomer that has waited longest", async () => {
    const places = new KeyPlaces<FakeConnection>();
    const [one, two] = [FakeConnection.silent(), FakeConnection.silent()];
    const [first, second] = [new FakeConnection(), new FakeConnection()];
    expect(enter(places, 2, one, two, first, second)).toEqual(["admitted", "admitted", "held", "held"]);
    places.leave(two);
    expect([first.state, second.state]).toEqual(["admitted", "held"]);
  });

  test("lets no more newcomers wait than there are silent connections", () => {
    const places = new KeyPlaces<FakeConnection>();
    const newcomers = [new FakeConnection(), new FakeConnection()];
    enter(places, 1, FakeConnection.silent(), ...newcomers);
    expect(newcomers.map(({ state }) => state)).toEqual(["held", "busy"]);
  });

  test("forgets a newcomer that leaves while it waits", async () => {
    const places = new KeyPlaces<FakeConnection>();
    const [silent, newcomer] = [FakeConnection.silent(), new FakeConnection()];
    enter(places, 1, silent, newcomer);
    places.leave(newcomer);
    await silent.answers(false);
    expect([silent.state, newcomer.state]).toEqual(["admitted", "held"]);
  });
});
