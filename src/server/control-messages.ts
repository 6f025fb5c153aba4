import { join } from "node:path";
import { z } from "zod";

/** The path of the socket through which commands reach the server that runs with this folder of keys. */
export function controlPath(certsDir: string): string {
  return join(certsDir, "control.sock");
}

/** `sun_path` in `unix(7)`, without its final zero. */
export const maxControlPathBytes = process.platform === "linux" ? 107 : 103;

// The frames have the form of those on the wire: `control:connections:R {}`, `control:disconnect:R {"who"}` and
// `control:retire:R {"mod","tree"?}`, each with a `_resp`.

/** More than any name or fingerprint needs. */
export const maxRequestBytes = 4 * 1024;
/** Ten thousand connections take 3 MB. */
export const maxAnswerBytes = 64 * 1024 * 1024;

export const disconnectRequest = z.object({ who: z.string().max(1_000) });

const connectionRecord = z.object({
  fingerprint: z.string().max(64),
  name: z.string().max(64).optional(),
  /** `ip:port`. */
  address: z.string().max(100),
  since: z.iso.datetime(),
  calls: z.int().min(0),
});
/** One connected client. */
export type ConnectionRecord = z.infer<typeof connectionRecord>;

export const connectionsResponse = z.object({ connections: z.array(connectionRecord).max(1_000_000) });

export const disconnectResponse = z.object({
  fingerprint: z.string().max(64),
  name: z.string().max(64).optional(),
  closed: z.int().min(0),
});
/** The key whose connections were closed, and how many. It is still trusted. */
export type DisconnectedKey = z.infer<typeof disconnectResponse>;

export const retireRequest = z.object({
  mod: z.string().max(1_000),
  tree: z
    .string()
    .regex(/^[0-9a-f]{8,64}$/, "must be at least 8 and at most 64 hexadecimal digits")
    .optional(),
});

export const retireResponse = z.object({
  mod: z.string().max(1_000),
  trees: z.array(z.string().max(64)).max(1_000_000),
});
/** The versions of a module that were ended, newest first. */
export type RetiredVersions = z.infer<typeof retireResponse>;
