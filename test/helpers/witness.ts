import { connect, type VeripyClient } from "../../src/index.ts";
import type { Site } from "./site.ts";

/** Connects to the site's server with the site's own key, as a program that embeds VeriPy would. */
export function connectTo(site: Site): Promise<VeripyClient> {
  return connect({ host: "localhost", port: site.port, certsDir: `${site.path}/certs` });
}

/** `code: message` of a call that is expected to be rejected. */
export async function failureOf(call: Promise<unknown>): Promise<string> {
  let value: unknown;
  try {
    value = await call;
  } catch (error) {
    return `${(error as { code?: string }).code}: ${(error as Error).message}`;
  }
  throw new Error(`It succeeded with ${JSON.stringify(value)}.`);
}

/** The source of `mods/witness.ts`. */
export const witnessModule = "export const execute = (args: string) => args;\n";

/** Calls an innocent module continually, over a connection of its own, and records the slowest answer. */
export class Witness implements AsyncDisposable {
  readonly #client: VeripyClient;
  readonly #watching: Promise<void>;
  #isDone = false;
  #failure: unknown;
  calls = 0;
  worstMs = 0;

  private constructor(client: VeripyClient) {
    this.#client = client;
    this.#watching = this.#watch();
  }

  static async of(site: Site): Promise<Witness> {
    return new Witness(await connectTo(site));
  }

  async #watch(): Promise<void> {
    try {
      while (!this.#isDone) {
        const begunAt = performance.now();
        const { result } = await this.#client.exec("witness.ts", "still here", { timeoutMs: 5_000 });
        if (result !== "still here") throw new Error(`The witness answered '${result}'.`);
        this.worstMs = Math.max(this.worstMs, performance.now() - begunAt);
        this.calls += 1;
        await Bun.sleep(2);
      }
    } catch (error) {
      this.#failure = error;
    }
  }

  /** The slowest answer since the last time this was called. Throws if an answer failed. */
  takeWorstMs(): number {
    if (this.#failure !== undefined) throw this.#failure;
    const worstMs = this.worstMs;
    this.worstMs = 0;
    return worstMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDone = true;
    await this.#watching;
    this.#client.close();
  }
}
