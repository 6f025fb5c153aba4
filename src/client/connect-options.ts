import type { Limits } from "../base/limits.ts";
import type { Identity } from "../identity/identity.ts";

/** Whether to keep a server's key, or a function that decides it. */
export type RememberServer = boolean | ((fingerprint: string) => Promise<boolean>);

export interface ConnectOptions {
  host?: string;
  port?: number;
  /**
   * The client's home: sources that were verified are kept there and not fetched again, and so is what was seen and decided.
   * Modules that its `veripy.lock` denies never run. Without a home, nothing is kept but what `lock` says.
   */
  home?: string;
  /** The `veripy.lock` that says which modules are approved. It need not exist. Without one, nothing is. */
  lock?: string | undefined;
  /** Refuses, with `not_approved`, a server of which the lock says nothing. Default: false. */
  locked?: boolean;
  /**
   * For a program that asks its user for approvals: connects where otherwise the lock refuses the server, because it has no
   * entry for it (`locked`), or only one for another key at its address. Calls are still held to the lock.
   */
  decide?: boolean;
  /**
   * An `allowed_signers` file, as ssh-keygen(1) describes it. Only modules in the server's catalogue are verified and run, and
   * only if one of these signers has signed it; a server without such a catalogue is refused with `not_signed`.
   */
  signers?: string;
  /** The one of the signers that must have signed, such as `ops@example`. */
  signer?: string;
  /** The folder with this client's `client.key` and `client.crt`, and `server.crt` or `known-servers.json`. Default: `certs` in the home. */
  certsDir?: string;
  /** Used instead of the key in `certsDir`. */
  identity?: Identity;
  /** The SHA-256 of the server's public key. Used when no file in `certsDir` names a key for this server. */
  serverFingerprint?: string;
  /** Called when nothing says which key the server must show. True accepts the key and keeps it in `known-servers.json`. */
  confirmServer?: (fingerprint: string) => Promise<boolean>;
  /**
   * Whether to keep the key of `serverFingerprint` in `known-servers.json` when no file in `certsDir` names it. A function
   * is called once the server has accepted this client. Default: false.
   */
  rememberServer?: RememberServer;
  /** For connecting, and for every request except `exec`: how long the server may be silent. Default 10 s. */
  timeoutMs?: number;
  /** Reconnects when the connection breaks, with growing pauses, until `close()`. Default: false. */
  reconnect?: boolean;
  /** Whether a call made without a connection waits for the next one, within its deadline. Default: as `reconnect`. */
  waitForConnection?: boolean;
  /** How long the server may be silent before it is pinged. Default 20 s. */
  keepaliveMs?: number;
  limits?: Partial<Limits>;
}
