import { EventEmitter } from "node:events";
import { VeripyError } from "../base/errors.ts";
import { checkServerFiles } from "../base/file-modes.ts";
import { type Limits, withDefaultLimits } from "../base/limits.ts";
import { loggerOf } from "../base/log.ts";
import { product } from "../base/version.ts";
import { HostReserve } from "../host/parent/spare-process.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import { type Identity, loadOrCreateIdentity } from "../identity/identity.ts";
import type { SignedRotation } from "../identity/rotation-statement.ts";
import { loadVersion } from "../modules/hosted-version.ts";
import type { VersionStats } from "../modules/module-version.ts";
import { ModuleRegistry } from "../modules/registry.ts";
import type { CloseReason } from "../protocol/duplex.ts";
import { probe } from "../tls/bind.ts";
import { type Listener, listen } from "../tls/listener.ts";
import type { Peer } from "../tls/peer.ts";
import type { Refusal } from "../tls/refusal.ts";
import {
  readTrustedKeys,
  type TrustedKeys,
  type TrustedKeysWatch,
  watchTrustedKeys,
} from "../trust/trusted-keys.ts";
import { Broadcaster } from "./broadcast.ts";
import { connectionsOf, disconnect } from "./control-requests.ts";
import { ControlSocket } from "./control-socket.ts";
import { encodeLoaded } from "./encoded-version.ts";
import { KeyPlaces } from "./key-places.ts";
import { ClientRotations } from "./keys/client-rotations.ts";
import { OwnKey } from "./keys/own-key.ts";
import { Pairing } from "./keys/pairing.ts";
import { AuditLog } from "./observers/audit-log.ts";
import { CallLog } from "./observers/call-log.ts";
import { ConnectionLog } from "./observers/connection-log.ts";
import type { MetricsEndpoint } from "./observers/metrics-endpoint.ts";
import type { ModuleChange, PeerLabel, ServerObserver, TrustEdit } from "./observers/observer.ts";
import { RefusalLog } from "./observers/refusal-log.ts";
import {
  type CompleteServeOptions,
  checkFolders,
  defaultServeOptions,
  type ServeOptions,
} from "./serve-options.ts";
import { Session, type SessionOwner } from "./session.ts";

const log = loggerOf("server");

export interface VeripyServerEvents {
  module: [ModuleChange];
  connected: [PeerLabel];
  disconnected: [PeerLabel & { readonly reason: string }];
  refused: [Refusal];
}

/** A running server. Made by `serve`. */
export class VeripyServer extends EventEmitter<VeripyServerEvents> implements SessionOwner {
  readonly limits: Readonly<Limits>;
  readonly registry: ModuleRegistry;
  readonly observers: readonly ServerObserver[];
  readonly product = product;
  readonly #sessions = new Set<Session>();
  readonly #places = new KeyPlaces<Session>();
  readonly #broadcaster = new Broadcaster();
  readonly #hosts: HostReserve;
  readonly #refusals: RefusalLog;
  readonly #connectionLog = new ConnectionLog();
  readonly #pairing: Pairing;
  readonly #ownKey: OwnKey;
  readonly #rotations: ClientRotations;
  readonly #audit: AuditLog | undefined;
  #metrics: MetricsEndpoint | undefined;
  #trust: TrustedKeys;
  #listener: Listener | undefined;
  #trustWatch: TrustedKeysWatch | undefined;
  #control: ControlSocket | undefined;
  #stopping: Promise<void> | undefined;
  #whenIdle: (() => void) | undefined;
  #whenEmpty: (() => void) | undefined;

  /** Use `serve`. */
  private constructor(options: CompleteServeOptions, parts: ServerParts) {
    super();
    this.limits = parts.limits;
    this.observers = parts.observers;
    this.#trust = parts.trust;
    this.#audit = parts.audit;
    this.#refusals = new RefusalLog(options.trustedKeysPath, () => this.#trust);
    const reloadTrust = async () => this.#trustWatch?.check();
    this.#pairing = new Pairing({
      certsDir: options.certsDir,
      trustedKeysPath: options.trustedKeysPath,
      // Joining is as much of a handshake as the one of TLS, so it may take as long.
      withinMs: parts.limits.handshakeMs,
      fingerprint: () => this.fingerprint,
      reloadTrust,
      onJoined: (peer) => this.#trustEdited({ kind: "joined", peer }),
      onWrongCode: ({ fingerprint, address }) => {
        for (const observer of this.observers) {
          observer.refused?.({ reason: "wrong_code", fingerprint, address });
        }
      },
    });
    this.#rotations = new ClientRotations({
      trustedKeysPath: options.trustedKeysPath,
      rotationsPerMinute: parts.limits.rotationsPerMinute,
      reloadTrust,
      onEdit: (edit) => this.#trustEdited(edit),
    });
    this.#ownKey = new OwnKey({
      certsDir: options.certsDir,
      identity: parts.identity,
      onIdentity: (identity) => this.#listener?.use(identity),
      onNext: () => this.#announceKey(),
    });
    this.#hosts = new HostReserve(options.hosts);
    this.registry = new ModuleRegistry({
      modsDir: options.modsDir,
      limits: parts.limits,
      load: async (source) =>
        encodeLoaded(await loadVersion(source, { limits: parts.limits, reserve: this.#hosts })),
    });
  }

  /**
   * Reads trust and identity, loads the modules, then listens. Throws when any of that can't be done. A port in use is
   * found before modules load; only a program that takes the port in the meantime is found at the end.
   */
  static async start(given: ServeOptions = {}): Promise<VeripyServer> {
    const options = { ...defaultServeOptions, ...given };
    const limits = withDefaultLimits(given.limits);
    const warnings = [
      ...(await checkFolders(options)),
      ...(await checkServerFiles(options.certsDir, options.trustedKeysPath)),
    ];
    for (const warning of warnings) {
      log.warn("{warning}", { warning });
    }
    // Loaded only where it is used: it is a third of what the server would otherwise load.
    const metrics =
      options.metrics === undefined ? undefined : await import("./observers/metrics-endpoint.ts");
    const counts = metrics === undefined ? undefined : new metrics.Metrics();
    const trust = await readTrustedKeys(options.trustedKeysPath);
    // Found now rather than when all modules have loaded.
    probe(options.hostname, options.port);
    if (options.metrics !== undefined) metrics?.probeMetrics(options.metrics.hostname, options.metrics.port);
    const audit = options.audit === undefined ? undefined : new AuditLog(options.audit);
    const calls = options.logCalls === true ? new CallLog() : undefined;
    // Last of what can fail: a start that fails leaves no new key behind.
    const identity = await serverIdentity(options.certsDir).catch((error) => {
      audit?.close();
      throw error;
    });
    const observers = [...options.observers, audit, counts, calls].filter(
      (observer) => observer !== undefined,
    );
    const server = new VeripyServer(options, { identity, limits, trust, audit, observers });
    try {
      await server.#start(options);
      if (metrics !== undefined && counts !== undefined && options.metrics !== undefined) {
        server.#metrics = metrics.serveMetrics(
          counts,
          server,
          options.metrics.hostname,
          options.metrics.port,
        );
        log.info("Metrics are at http://{hostname}:{port}/metrics.", {
          ...options.metrics,
          port: server.#metrics.port,
        });
      }
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  get port(): number {
    return this.#listener?.port ?? 0;
  }

  /** `ip:port` of each socket that accepts connections. */
  get addresses(): readonly string[] {
    return this.#listener?.addresses ?? [];
  }

  /** The key that new connections are shown; it changes when it was rotated. */
  get identity(): Identity {
    return this.#ownKey.identity;
  }

  get fingerprint(): Fingerprint {
    return this.identity.fingerprint;
  }

  get isDraining(): boolean {
    return this.#stopping !== undefined;
  }

  get sessions(): ReadonlySet<Session> {
    return this.#sessions;
  }

  /** Per module: version, process, memory, calls, failures, restarts, run times. */
  stats(): VersionStats[] {
    return this.registry.stats();
  }

  /**
   * Stops in order: no new connections, `sys:drain` to all, calls in flight end (`limits.shutdownMs` at most),
   * connections and module hosts are closed. Every call returns the same promise.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #start(options: CompleteServeOptions): Promise<void> {
    this.registry.on("change", (change) => this.#moduleChanged(change));
    await this.registry.start();
    this.#hosts.open();
    this.#trustWatch = watchTrustedKeys(options.trustedKeysPath, {
      current: this.#trust,
      onChange: (keys) => this.#trustChanged(keys),
      onError: (error) => {
        log.error("Kept the last good trusted keys: {error}", { error: error.message });
        for (const observer of this.observers) observer.trustChanged?.({ error: error.message });
      },
    });
    this.#listener = await listen({
      hostname: options.hostname,
      port: options.port,
      identity: this.identity,
      limits: this.limits,
      verdict: (fingerprint, address) => this.#trust.verdict(fingerprint, address),
      strangers: this.#pairing,
      onPeer: (peer) => this.#accept(peer),
      onRefused: (refusal) => this.#refused(refusal),
    });
    await this.#ownKey.start();
    if (options.control) {
      this.#control = await ControlSocket.open(options.certsDir, {
        connections: () => connectionsOf(this.#sessions),
        disconnect: (who) => disconnect(who, this.#sessions, this.#trust, options.trustedKeysPath),
      });
    }
    log.info("Listening on {addresses}. This server's key is {fingerprint}.", {
      addresses: this.addresses,
      port: this.port,
      fingerprint: this.fingerprint,
    });
  }

  #accept(peer: Peer): void {
    const grant = this.#trust.grantFor(peer.fingerprint, peer.remoteAddress);
    if (grant === undefined) {
      // The trust file changed between the handshake and now.
      peer.duplex.abort(new VeripyError("untrusted", "The key is not trusted."));
      return;
    }
    const maxOfKey = Math.min(
      grant.maxConnections ?? this.limits.maxConnectionsPerKey,
      this.limits.maxConnectionsPerKey,
    );
    const session = new Session(peer, grant, this);
    this.#sessions.add(session);
    for (const observer of this.observers) observer.connected?.(session);
    this.emit("connected", labelOf(session));
    this.#connectionLog.connected(grant.name ?? peer.fingerprint, peer.address);
    if (grant.next === peer.fingerprint) this.#rotations.confirm(session);
    if (this.isDraining) session.close("shutting_down", "The server is stopping.");
    else if (this.#sessions.size > this.limits.maxConnections) {
      session.close("busy", `The server has its limit of ${this.limits.maxConnections} connections.`);
    } else this.#places.enter(session, maxOfKey);
  }

  /** SessionOwner: asked for every sync, since a client may read nothing else. */
  announcement(session: Session): SignedRotation | undefined {
    const statement = this.#ownKey.announcement();
    if (statement !== undefined) this.#ownKey.told(session);
    return statement;
  }

  /** SessionOwner. */
  rotate(session: Session, json: string): Promise<string> {
    return this.#rotations.announce(session, json);
  }

  /** SessionOwner. */
  forbidden(session: Session, what: string): void {
    this.#connectionLog.forbidden(session, what);
  }

  #announceKey(): void {
    const json = JSON.stringify(this.#ownKey.announcement());
    const ref = this.#broadcaster.nextRef();
    for (const session of this.#sessions) {
      session.announceKey(ref, json);
      this.#ownKey.told(session);
    }
  }

  #trustEdited(edit: TrustEdit): void {
    for (const observer of this.observers) observer.trustEdited?.(edit);
  }

  /** SessionOwner: called by a session, once. */
  sessionEnded(session: Session, reason: CloseReason): void {
    this.#sessions.delete(session);
    this.#places.leave(session);
    const fault = reason?.message ?? session.closedFor;
    const why = fault ?? "closed";
    for (const observer of this.observers) observer.disconnected?.(session, why);
    this.emit("disconnected", { ...labelOf(session), reason: why });
    this.#connectionLog.disconnected(session, fault);
    this.sessionIdle();
    if (this.#sessions.size === 0) this.#whenEmpty?.();
  }

  /** SessionOwner: a session has no call in flight any more. */
  sessionIdle(): void {
    if (this.#whenIdle === undefined) return;
    for (const session of this.#sessions) if (session.callsInFlight > 0) return;
    this.#whenIdle();
  }

  #refused(refusal: Refusal): void {
    this.#refusals.add(refusal);
    for (const observer of this.observers) observer.refused?.(refusal);
    this.emit("refused", refusal);
  }

  #moduleChanged(change: ModuleChange): void {
    if (change.kind === "moderror")
      log.error("{mod} cannot be loaded: {error}", { mod: change.mod, error: change.detail });
    else
      log.info("{what}: {mod} {tree}", {
        what: change.kind,
        mod: change.report.mod,
        tree: change.report.tree,
      });
    this.#broadcaster.send(change, this.#sessions);
    for (const observer of this.observers) observer.moduleChanged?.(change);
    this.emit("module", change);
  }

  #trustChanged(keys: TrustedKeys): void {
    this.#trust = keys;
    log.info("Trusted keys changed: {count} now.", { count: keys.size });
    for (const observer of this.observers) observer.trustChanged?.({ keys: keys.size });
    for (const session of [...this.#sessions]) {
      const grant = keys.grantFor(session.fingerprint, session.remoteIp);
      if (grant === undefined) session.close("forbidden", cutOffText(keys, session));
      else session.setGrant(grant);
    }
  }

  async #stop(): Promise<void> {
    // Let the field be set first: `isDraining` must be true for whatever happens in here.
    await Promise.resolve();
    this.#trustWatch?.close();
    this.#ownKey.close();
    this.#listener?.stop();
    this.#control?.close();
    this.#pairing.close();
    const ref = this.#broadcaster.nextRef();
    for (const session of this.#sessions) session.announceDrain(ref);
    await this.#callsEnded(this.limits.shutdownMs);
    for (const session of [...this.#sessions]) session.close("shutting_down", "The server is stopping.");
    // Observers hear of their ends, and may look at the modules for that.
    await this.#sessionsEnded();
    await Promise.all([this.#hosts.close(), this.registry.stop()]);
    this.#metrics?.stop();
    this.#audit?.close();
    log.info("Stopped.");
  }

  /** Resolves when the last session has ended: at most two seconds after it was closed, whatever its client does. */
  #sessionsEnded(): Promise<void> {
    return new Promise((resolve) => {
      this.#whenEmpty = resolve;
      if (this.#sessions.size === 0) resolve();
    });
  }

  /** Resolves when no session has a call in flight, or after `ms`. */
  #callsEnded(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#whenIdle = () => {
        clearTimeout(timer);
        resolve();
      };
      this.sessionIdle();
    });
  }
}

interface ServerParts {
  readonly identity: Identity;
  readonly limits: Readonly<Limits>;
  readonly trust: TrustedKeys;
  readonly audit: AuditLog | undefined;
  readonly observers: readonly ServerObserver[];
}

/** Why a session ends whose key is no longer let in. */
function cutOffText(keys: TrustedKeys, { fingerprint, remoteIp }: Session): string {
  const verdict = keys.verdict(fingerprint, remoteIp);
  if (verdict === "expired") return "The entry of this key has expired.";
  if (verdict === "wrong_address") return `The entry of this key does not allow the address ${remoteIp}.`;
  return "This key is not trusted any more.";
}

async function serverIdentity(certsDir: string): Promise<Identity> {
  const { identity, created } = await loadOrCreateIdentity(certsDir, "server");
  if (created) {
    const { fingerprint } = identity;
    log.info("Made a new server key. Its fingerprint is {fingerprint}.", { fingerprint });
  }
  return identity;
}

/** A copy that outlives the session. */
function labelOf({ fingerprint, name, address }: Session): PeerLabel {
  return { fingerprint, name, address };
}

/**
 * Starts a server and resolves when it listens and every module has been tried. Rejects with `bad_config` or
 * `bad_identity`, and a message that says what to do, when it cannot.
 */
export function serve(options: ServeOptions = {}): Promise<VeripyServer> {
  return VeripyServer.start(options);
}
