import type { Limits } from "../base/limits.ts";
import type { Identity } from "../identity/identity.ts";

/** Whether to keep a server's key, or who decides it. */
export type RememberServer = boolean | ((fingerprint: string) => Promise<boolean>);

export interface ConnectOptions {
  host?: string;
  port?: number;
  /** Holds this client's `client.key` and `client.crt`, and `server.crt` or `known-servers.json`. */
  certsDir?: string;
  /** Instead of the one in `certsDir`. */
  identity?: Identity;
  /** The SHA-256 of the server's public key, when nothing in `certsDir` names it. */
  serverFingerprint?: string;
  /** Asked when nothing says which key the server must show. True accepts it and keeps it in `known-servers.json`. */
  confirmServer?: (fingerprint: string) => Promise<boolean>;
  /**
   * Whether to keep the key of `serverFingerprint` in `known-servers.json`, when nothing in `certsDir` names it. Asked, if
   * it is a function, once `connect` has connected and the server has accepted this client. Default: no.
   */
  rememberServer?: RememberServer;
  /** For connecting, and for every request but `exec`: so long without an answer or any other sign of life. */
  timeoutMs?: number;
  /** After a broken connection: try again, with growing pauses, until `close()`. */
  reconnect?: boolean;
  /** A call made while there is no connection waits for one, within its deadline. Default: as `reconnect`. */
  waitForConnection?: boolean;
  /** A server that is silent for this long is pinged. Default 20 s. */
  keepaliveMs?: number;
  limits?: Partial<Limits>;
}
