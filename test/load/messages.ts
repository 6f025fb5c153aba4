/** Messages between the crowds of clients and the process that directs them. */
export type ToCrowd =
  | {
      readonly kind: "connect";
      readonly port: number;
      readonly serverFingerprint: string;
      readonly certsDir: string;
    }
  | { readonly kind: "work" }
  | { readonly kind: "finish" };

export type FromCrowd =
  | { readonly kind: "keys"; readonly fingerprints: readonly string[] }
  | { readonly kind: "connected" }
  | { readonly kind: "account"; readonly account: Account };

/** How one crowd fared. */
export interface Account {
  readonly calls: number;
  readonly failures: readonly string[];
  readonly latenciesMs: readonly number[];
  /** By the sum of the edited module: how many clients were told, and when the first and the last of them. */
  readonly news: Readonly<Record<string, Heard>>;
}

export interface Heard {
  clients: number;
  firstAt: number;
  lastAt: number;
}

/** Milliseconds on a clock that all processes of a machine share, finer than `Date.now`. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}
