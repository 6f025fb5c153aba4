/** A path as one word of a POSIX shell, for commands in messages. */
export function shellQuoted(path: string): string {
  return /^[A-Za-z0-9_./@%+=:,-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
