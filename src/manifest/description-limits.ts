// Checked in the source by both ends, and again in what a module says of itself when it is loaded.

/** UTF-16 units of `description`: it stands in a line of every client's list. */
export const maxDescription = 4096;
/** UTF-16 units of `input` as JSON. */
export const maxInputSchema = 256 * 1024;
/** How deep `input` may nest: some thirty schemas in each other. */
export const maxInputDepth = 64;
