/**
 * Ends a client command on SIGINT or SIGTERM at once and silently, with 128 plus the signal's number, as shells report a
 * program that a signal ended. The server notices that its client is gone and cancels its calls. Importing this file is
 * enough, so that a signal works even while the other files are still being loaded.
 */
const exitCodes = { SIGINT: 130, SIGTERM: 143 } as const;

let interrupted = leaveInterrupted;

process.on("SIGTERM", () => process.exit(exitCodes.SIGTERM));
process.on("SIGINT", () => interrupted());

/** Ends the program as SIGINT does. */
export function leaveInterrupted(): void {
  process.exit(exitCodes.SIGINT);
}

/** For a command that goes on after SIGINT: calls this instead of ending the program. */
export function onInterrupt(handler: () => void): void {
  interrupted = handler;
}
