// Fields are `maxLineBytes` in programs, and `max_line_bytes` on the wire, in files and with `--json`.

type CamelCase<Name> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Name;

/** The fields of `T` in camelCase. */
export type CamelKeys<T> = { [Name in keyof T as CamelCase<Name>]: T[Name] };

/** The object with its field names in snake_case. Nested values are unchanged. */
export function snakeKeys(object: object): Record<string, unknown> {
  return renamed(object, (name) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
}

/** The inverse of `snakeKeys`. */
export function camelKeys<T extends object>(object: T): CamelKeys<T> {
  const named = renamed(object, (name) =>
    name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
  );
  return named as CamelKeys<T>;
}

function renamed(object: object, rename: (name: string) => string): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [rename(name), value]));
}
