// In a program a field is `maxLineBytes`; on the wire, in files and with `--json` it is `max_line_bytes`.

type CamelCase<Name> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Name;

/** The fields of `T` by the names that they have in a program. */
export type CamelKeys<T> = { [Name in keyof T as CamelCase<Name>]: T[Name] };

/** The object with its own field names in snake_case. What is inside its values stays as it is. */
export function snakeKeys(object: object): Record<string, unknown> {
  return renamed(object, (name) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
}

/** The opposite of `snakeKeys`. */
export function camelKeys<T extends object>(object: T): CamelKeys<T> {
  const named = renamed(object, (name) =>
    name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
  );
  return named as CamelKeys<T>;
}

function renamed(object: object, rename: (name: string) => string): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [rename(name), value]));
}
