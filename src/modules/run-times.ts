/** Buckets for each doubling of the time: a quantile is at most an eighth off. */
const steps = 8;
const longestUs = 2 ** 31 - 1;

/**
 * How long calls took, as counts in buckets whose width grows with the time, as in HDR Histogram: recording is an
 * increment, and memory does not grow with the number of calls.
 */
export class RunTimes {
  readonly #counts = new Uint32Array(30 * steps);
  #total = 0;

  /** Records one run of `ms` milliseconds; up to 35 minutes are told apart. */
  record(ms: number): void {
    this.#total += 1;
    const microseconds = Math.min(Math.max(0, Math.round(ms * 1000)), longestUs);
    const index = bucketOf(microseconds);
    this.#counts[index] = (this.#counts[index] ?? 0) + 1;
  }

  /** The time in milliseconds that `quantile` (0 to 1) of the runs did not exceed; undefined without any run. */
  quantile(quantile: number): number | undefined {
    if (this.#total === 0) return undefined;
    let left = Math.ceil(this.#total * quantile);
    for (const [index, count] of this.#counts.entries()) {
      left -= count;
      if (left <= 0) return highestOf(index) / 1000;
    }
    return highestOf(this.#counts.length - 1) / 1000;
  }
}

function bucketOf(microseconds: number): number {
  if (microseconds < steps) return microseconds;
  const exponent = 31 - Math.clz32(microseconds);
  return (exponent - 2) * steps + Math.floor(microseconds / 2 ** (exponent - 3)) - steps;
}

/** The highest whole number of microseconds in a bucket. */
function highestOf(index: number): number {
  if (index < steps) return index;
  const exponent = Math.floor(index / steps) + 2;
  return (steps + (index % steps) + 1) * 2 ** (exponent - 3) - 1;
}
