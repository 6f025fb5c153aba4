/** Methods that acorn lets a plugin override but leaves out of its types. */
export interface ParserInternals {
  readonly input: string;
  /** Of the current token. */
  readonly start: number;
  readonly end: number;
  raise(offset: number, message: string): never;
  raiseRecoverable(offset: number, message: string): never;
  unexpected(offset?: number): never;
  parseIdentNode(): unknown;
  parseDynamicImport(node: unknown): unknown;
}

/** A parser class to extend; its constructor's arguments are acorn's own business. */
export type Extensible<Internals> = new () => Internals;
