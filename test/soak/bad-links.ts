import { type ConnectOptions, connect, type VeripyClient, VeripyError } from "../../src/index.ts";
import type { Random } from "../fuzz/random.ts";
import type { Report } from "../fuzz/report.ts";
import { Relay } from "../helpers/relay.ts";
import { within } from "../helpers/within.ts";

/** Counts how often each id was run; without one, tells those that were run more than once. */
export const onceModule = `const runs = new Map<string, number>();
export const execute = (id: string) => {
  if (id === "") return JSON.stringify([...runs].filter(([, times]) => times > 1));
  if (id.startsWith("?")) return String(runs.get(id.slice(1)) ?? 0);
  runs.set(id, (runs.get(id) ?? 0) + 1);
  return id + " done";
};
`;

/** What may be said of a call that a bad link has kept from its answer. */
const truths = new Set(["unreachable", "timeout"]);

export interface BadLinkOptions {
  /** How to reach the server over a good link. */
  readonly options: ConnectOptions;
  readonly random: Random;
  readonly report: Report;
  isOver(): boolean;
}

/**
 * Clients behind links that are slow, cut, and swallow what they carry for seconds. Their calls may fail, with the codes
 * that tell the truth; whatever was answered has run, what is said never to have begun has not, and nothing runs twice.
 */
export class BadLinks {
  readonly counts = { calls: 0, failures: 0, faults: 0 };
  readonly #options: BadLinkOptions;

  constructor(options: BadLinkOptions) {
    this.#options = options;
  }

  async run(links: number): Promise<void> {
    await Promise.all(Array.from({ length: links }, (_, link) => this.#link(link)));
    using witness = await connect(this.#options.options);
    const { result } = await witness.exec("once.ts", "");
    if (result !== "[]") this.#options.report.violation(`run more than once: ${result.slice(0, 400)}`);
  }

  async #link(link: number): Promise<void> {
    const { options, isOver } = this.#options;
    using relay = new Relay(options.port ?? 0, {
      both: { delayMs: 20 + 40 * link },
      down: { bytesPerSecond: 512 * 1024, maxQueuedBytes: 64 * 1024 },
    });
    using witness = await connect(options);
    const slow = { ...options, port: relay.port, timeoutMs: 3_000, keepaliveMs: 1_000 };
    using client = await connect({ ...slow, reconnect: true });
    const faults = this.#faults(relay);
    await Promise.all([this.#small(client, witness, link), this.#bulk(client), faults]);
    if (!isOver()) this.#options.report.violation("a client on a bad link has ended early");
  }

  /** Calls that are counted, one at a time. */
  async #small(client: VeripyClient, witness: VeripyClient, link: number): Promise<void> {
    const { random, report, isOver } = this.#options;
    for (let number = 0; !isOver(); number++) {
      const id = `${link}/${number}`;
      this.counts.calls += 1;
      const ended = await this.#ended(id, client.exec("once.ts", id, { timeoutMs: 3_000 }));
      // The order of what was asked over two connections is not known, so only a call that has ended is looked at.
      const { result: runs } = await witness.exec("once.ts", `?${id}`);
      if (ended === "ok" && runs !== "1") report.violation(`${id} was answered, and has run ${runs} times`);
      if (ended === "not started" && runs !== "0")
        report.violation(`${id} was never to have begun, and has run`);
      await Bun.sleep(random.integer(5, 60));
    }
  }

  /** What keeps the link busy. */
  async #bulk(client: VeripyClient): Promise<void> {
    const { random, isOver } = this.#options;
    while (!isOver()) {
      const way = random.integer(0, 2);
      const call =
        way === 0
          ? client.exec("big.ts", "300000", { timeoutMs: 5_000 })
          : way === 1
            ? client.exec("stream.ts", "200", { timeoutMs: 5_000, onPart: () => {} })
            : client.verify("once.ts");
      await this.#ended("bulk", call);
      await Bun.sleep(random.integer(50, 500));
    }
  }

  async #ended(what: string, call: Promise<unknown>): Promise<"ok" | "not started" | "failed"> {
    try {
      await within(30_000, what, call);
      return "ok";
    } catch (error) {
      this.counts.failures += 1;
      if (!(error instanceof VeripyError) || !truths.has(error.code)) {
        this.#options.report.violation(`on a bad link, ${what}: ${String(error)}`);
      }
      return (error as { started?: unknown }).started === false ? "not started" : "failed";
    }
  }

  async #faults(relay: Relay): Promise<void> {
    const { random, isOver } = this.#options;
    while (!isOver()) {
      await Bun.sleep(random.integer(500, 4_000));
      this.counts.faults += 1;
      const way = random.integer(0, 3);
      if (way === 0) relay.cutAll();
      else {
        if (way === 1) relay.blackHole(true);
        else if (way === 2) relay.up.set({ isHole: true });
        else relay.down.set({ isHole: true });
        await Bun.sleep(random.integer(200, 3_000));
        relay.blackHole(false);
      }
    }
  }
}
