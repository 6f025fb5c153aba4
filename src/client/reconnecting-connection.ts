import { VeripyError } from "../base/errors.ts";
import { type Limits, withDefaultLimits } from "../base/limits.ts";
import type { Frame } from "../protocol/frame.ts";
import { Backoff } from "./backoff.ts";
import { NotSentError } from "./call-fate.ts";
import type { ConnectOptions, RememberServer } from "./connect-options.ts";
import { type ConnectTarget, refreshTarget } from "./connect-target.ts";
import { Connection, type ServerNews } from "./connection.ts";
import { ConnectionGate } from "./connection-gate.ts";
import { dial } from "./dial.ts";
import { Patience } from "./patience.ts";
import { rememberServer } from "./remember-server.ts";
import { ServerKeyFollower } from "./server-key-follower.ts";

export interface ReconnectingConnectionHandler {
  /** Called for every new connection: makes the first request, whose answer shows that the server accepts this client. */
  sync(): Promise<void>;
  news(news: ServerNews): void;
  /** The connection is lost; the next attempt starts in `retryMs`, or there is none. */
  disconnected(reason: VeripyError, retryMs: number | undefined): void;
  /** There is a connection again, and `sync` has succeeded over it. */
  reconnected(): void;
  /** Called exactly once, last. */
  closed(reason: VeripyError): void;
}

/** A connection to one server which, with `reconnect`, is replaced by a new one whenever it breaks. */
export class ReconnectingConnection {
  /** Where calls wait for the next connection; undefined when they fail at once instead. */
  readonly gate: ConnectionGate | undefined;
  readonly #reconnects: boolean;
  readonly #options: ConnectOptions;
  readonly #handler: ReconnectingConnectionHandler;
  readonly #limits: Readonly<Limits>;
  readonly #patience: Patience;
  readonly #backoff = new Backoff();
  readonly #serverKey: ServerKeyFollower;
  readonly #dialling = new AbortController();
  #target: ConnectTarget;
  #current: Connection | undefined;
  #earlierKeys: readonly string[] = [];
  /** The key that the server showed on the latest connection. */
  #shown: string | undefined;
  /** During `join`, which finds out by itself that the connection has ended. */
  #isJoining = false;
  #closedBy: VeripyError | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(target: ConnectTarget, options: ConnectOptions, handler: ReconnectingConnectionHandler) {
    this.#target = target;
    this.#options = options;
    this.#handler = handler;
    this.#limits = withDefaultLimits(options.limits);
    this.#patience = new Patience(options.timeoutMs ?? 10_000);
    this.#reconnects = options.reconnect ?? false;
    const waits = this.#reconnects && (options.waitForConnection ?? true);
    this.gate = waits ? new ConnectionGate() : undefined;
    // A turn later: the first sync may bring an announcement before the caller of `connect` can listen for it.
    this.#serverKey = new ServerKeyFollower((news) => void setImmediate(() => handler.news(news)));
  }

  /** This client's own. */
  get fingerprint(): string {
    return this.#target.identity.fingerprint;
  }

  get serverFingerprint(): string {
    return this.#target.seenFingerprint ?? "";
  }

  /** Keys that this server had before the one that it showed last, as the pins show: it announced the next under each of them. */
  get earlierKeys(): readonly string[] {
    return this.#earlierKeys;
  }

  get current(): Connection | undefined {
    return this.#current;
  }

  /** The current connection once `sync` has succeeded over it: before, nothing is known of what it leads to. */
  get synced(): Connection | undefined {
    return this.#isJoining ? undefined : this.#current;
  }

  /** Closed for good; there will be no other connection. */
  get isClosed(): boolean {
    return this.#closedBy !== undefined;
  }

  /** The current connection. Throws `NotSentError` when there is none. */
  required(): Connection {
    return this.#existing(this.#current);
  }

  /** The current connection once `sync` has succeeded over it. Throws `NotSentError` otherwise. */
  requiredSynced(): Connection {
    return this.#existing(this.synced);
  }

  #existing(connection: Connection | undefined): Connection {
    if (connection !== undefined) return connection;
    throw new NotSentError(
      this.#closedBy ?? new VeripyError("unreachable", "There is no connection to the server at the moment."),
    );
  }

  request(api: string, type: string, json: string): Promise<Frame> {
    return this.required().channel.request(api, type, json, {
      timeoutMs: this.#patience.timeoutMs,
      countsProgress: true,
    });
  }

  /** Connects and syncs, once. Rejects with the reason why the server can't be used. */
  async join(): Promise<void> {
    this.#isJoining = true;
    try {
      await this.#connect();
      await this.#handler.sync();
      // The server may close right behind its answer, which `#disconnected` ignores meanwhile.
      if (this.#current?.channel.isClosed === true)
        throw new VeripyError("unreachable", "The server closed the connection.");
    } catch (error) {
      const connection = this.#current;
      this.#current = undefined;
      connection?.close();
      throw error;
    } finally {
      this.#isJoining = false;
    }
  }

  /** See `rememberServer`. Call it after `join`. */
  async rememberServer(remember: RememberServer): Promise<string | undefined> {
    if (remember === false) return undefined;
    // A key that the server has announced meanwhile is kept together with the current one.
    await this.#serverKey.settled();
    const file = await rememberServer(this.#target, remember);
    // It may have closed while `remember` was asking, before the caller could listen for it.
    if (this.#closedBy !== undefined) throw this.#closedBy;
    return file;
  }

  /** The server's announcement of its next key, as it came with an answer. */
  announced(rotation: unknown): void {
    const { seenFingerprint } = this.#target;
    if (seenFingerprint !== undefined) this.#serverKey.announced(this.#target, seenFingerprint, rotation);
  }

  /** Closes for good: pending requests and waiting calls are rejected with `reason`. Idempotent. */
  close(reason: VeripyError): void {
    if (this.#closedBy !== undefined) return;
    this.#closedBy = reason;
    clearTimeout(this.#retryTimer);
    this.#dialling.abort();
    const connection = this.#current;
    this.#current = undefined;
    connection?.close();
    this.gate?.end(reason);
    this.#handler.closed(reason);
  }

  async #connect(): Promise<void> {
    const peer = await dial(this.#target, this.#patience.timeoutMs, this.#dialling.signal);
    if (this.#closedBy !== undefined) {
      peer.duplex.close();
      throw this.#closedBy;
    }
    const connection = new Connection(peer, {
      limits: this.#limits,
      fingerprint: this.fingerprint,
      keepaliveMs: this.#options.keepaliveMs ?? defaultKeepaliveMs,
      pongMs: this.#patience.pongMs,
      onPong: (tookMs) => this.#patience.answered(tookMs),
      onNews: (news) => {
        // A stopping server takes calls only on the next connection.
        if (news.kind === "drain")
          this.gate?.shut(new VeripyError("shutting_down", "The server is stopping."));
        this.#handler.news(news);
      },
      onRotation: (announcement) => this.#serverKey.announced(this.#target, peer.fingerprint, announcement),
      onClosed: (reason) => this.#disconnected(connection, reason),
    });
    this.#current = connection;
    this.#earlierKeys = this.#earlierKeysOf(peer.fingerprint);
    this.#shown = peer.fingerprint;
    this.#serverKey.connected(this.#target, peer.fingerprint);
  }

  #earlierKeysOf(shown: string): readonly string[] {
    if (shown === this.#shown) return this.#earlierKeys;
    const { expected } = this.#target;
    if (expected.at(-1) !== shown || expected.length < 2) return [];
    const proven: readonly string[] = expected.slice(0, -1);
    const isChain = this.#shown !== undefined && proven.includes(this.#shown);
    return isChain ? [...proven, ...this.#earlierKeys] : proven;
  }

  #disconnected(connection: Connection, reason: VeripyError): void {
    if (this.#current !== connection || this.#isJoining) return;
    this.#current = undefined;
    if (!this.#reconnects) {
      this.#handler.disconnected(reason, undefined);
      this.close(reason);
      return;
    }
    this.#retryLater(reason);
  }

  #retryLater(reason: VeripyError): void {
    this.#patience.failed(reason);
    this.gate?.shut(reason);
    const retryMs = this.#backoff.nextMs();
    this.#retryTimer = setTimeout(() => void this.#retry(), retryMs);
    this.#handler.disconnected(reason, retryMs);
  }

  async #retry(): Promise<void> {
    try {
      this.#target = await refreshTarget(this.#target, this.#options);
      if (this.#closedBy !== undefined) return;
      await this.join();
    } catch (error) {
      if (this.#closedBy !== undefined) return;
      const reason =
        error instanceof VeripyError
          ? error
          : new VeripyError("unreachable", String(error), { cause: error });
      this.#retryLater(reason);
      return;
    }
    this.#backoff.reset();
    this.gate?.open();
    this.#handler.reconnected();
  }
}

const defaultKeepaliveMs = 20_000;
