interface Destination {
  readonly port?: unknown;
  readonly unix?: unknown;
}

/**
 * Makes the errors of `Bun.connect` say where it should have led, like those of `node:net`: `missingPermission` names it.
 * Call it before the module is loaded.
 */
export function nameDestinations(): void {
  const original = Bun.connect as (options: Destination) => Promise<unknown>;
  const connect = (options: Destination) =>
    original(options).catch((error: unknown) => {
      if (error instanceof Error) Object.assign(error, { port: options.port, address: options.unix });
      throw error;
    });
  Object.assign(Bun, { connect });
}
