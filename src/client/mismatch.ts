/** One value that differs from what was expected. */
export interface Mismatch {
  /** What was compared: `hello.ts`, `lib/format.ts`, `the tree of hello.ts`, or `the permissions of hello.ts`. */
  readonly what: string;
  /** Where the expected value comes from. */
  readonly by: "the report" | "the answer" | `the catalogue ${string}`;
  /** A digest, or a value as JSON. */
  readonly expected: string;
  readonly actual: string;
}
