/** A path as one word of a POSIX shell, for commands that a message tells its reader to type. */
export function shellQuoted(path: string): string {
  return /^[A-Za-z0-9_./@%+=:,-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
