/** Rejects with an error that names `what` if `promise` has not settled within `ms`. */
export async function within<T>(ms: number, what: string, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Waited ${ms} ms for ${what}.`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves when `condition` returns something other than undefined or false. Asks again every few milliseconds. */
export function eventually<T>(
  what: string,
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  ms = 5_000,
): Promise<T> {
  const until = performance.now() + ms;
  const ask = async (): Promise<T> => {
    const value = await condition();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > until) throw new Error(`Waited ${ms} ms for ${what}.`);
    await Bun.sleep(5);
    return ask();
  };
  return ask();
}
