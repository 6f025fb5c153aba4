/**
 * Ends a client command on SIGINT or SIGTERM, at whatever moment: at once, without a word, with 128 plus the signal's
 * number, as shells report a program that a signal has ended. The server notices that its client is gone and
 * cancels its calls. Importing this module is enough, so that it works while the others are still being loaded.
 */
const exitCodes = { SIGINT: 130, SIGTERM: 143 } as const;

process.on("SIGTERM", () => process.exit(exitCodes.SIGTERM));
process.on("SIGINT", () => process.exit(exitCodes.SIGINT));

export {};
