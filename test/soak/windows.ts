import type { Vitals } from "../helpers/vitals.ts";

/** What was seen over a span of the run. */
export class Window {
  readonly #vitals: Vitals[] = [];
  readonly latenciesMs: number[] = [];

  add(vitals: Vitals): void {
    this.#vitals.push(vitals);
  }

  get rssBytes(): number {
    return quantile(
      this.#vitals.map(({ rssBytes }) => rssBytes),
      0.5,
    );
  }
  get descriptors(): number {
    return quantile(
      this.#vitals.map(({ descriptors }) => descriptors),
      0.5,
    );
  }
  get children(): number {
    return quantile(
      this.#vitals.map(({ children }) => children.length),
      0.5,
    );
  }
  get p50Ms(): number {
    return quantile(this.latenciesMs, 0.5);
  }
  get p99Ms(): number {
    return quantile(this.latenciesMs, 0.99);
  }
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}
