import { EventEmitter } from "node:events";
import { type Limits, withDefaultLimits } from "../base/limits.ts";
import { loggerOf } from "../base/log.ts";
import { sandboxSupport } from "../host/parent/sandbox-support.ts";
import { SpareProcesses } from "../host/parent/spare-processes.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import type { Identity } from "../identity/identity.ts";
import type { ModuleChange } from "../modules/module-slot.ts";
import type { VersionStats } from "../modules/module-version.ts";
import type { ModuleRegistry } from "../modules/registry.ts";
import type { SandboxStatus } from "../protocol/messages.ts";
import { probe } from "../tls/bind.ts";
import { type Listener, listen } from "../tls/listener.ts";
import {
  readTrustedKeys,
  type TrustedKeys,
  type TrustedKeysWatch,
  watchTrustedKeys,
} from "../trust/trusted-keys.ts";
import { type CatalogueParts, openCatalogue } from "./catalogue/open-catalogue.ts";
import { connectionsOf, disconnect, retire } from "./control-requests.ts";
import { ControlSocket } from "./control-socket.ts";
import { createRegistry } from "./create-registry.ts";
import { ClientRotations } from "./keys/client-rotations.ts";
import { loadServerIdentity, OwnKey } from "./keys/own-key.ts";
import { Pairing } from "./keys/pairing.ts";
import { AuditLog } from "./observers/audit-log.ts";
import { CallLog } from "./observers/call-log.ts";
import { ChangeLog } from "./observers/change-log.ts";
import { ConnectionLog } from "./observers/connection-log.ts";
import type { MetricsSource } from "./observers/metrics.ts";
import type { MetricsEndpoint } from "./observers/metrics-endpoint.ts";
import type { CatalogueChange, ServerObserver } from "./observers/observer.ts";
import { Observers } from "./observers/observers.ts";
import { RefusalLog } from "./observers/refusal-log.ts";
import { ServerEvents, type VeripyServerEvents } from "./observers/server-events.ts";
import { sandboxStatus } from "./sandbox-status.ts";
import {
  type CompleteServeOptions,
  checkOptions,
  defaultServeOptions,
  type ServeOptions,
} from "./serve-options.ts";
import type { ConnectedClient } from "./session.ts";
import { Sessions } from "./sessions.ts";

const log = loggerOf("server");

/** A running server. Made by `serve`. */
export class VeripyServer extends EventEmitter<VeripyServerEvents> {
  readonly limits: Readonly<Limits>;
  readonly #observers: Observers;
  readonly #registry: ModuleRegistry;
  readonly #hosts: SpareProcesses;
  readonly #sandbox: SandboxStatus;
  readonly #sessions: Sessions;
  readonly #pairing: Pairing;
  readonly #ownKey: OwnKey;
  readonly #audit: AuditLog | undefined;
  readonly #catalogue: CatalogueParts;
  #trust: TrustedKeys;
  #listener: Listener | undefined;
  #trustWatch: TrustedKeysWatch | undefined;
  #control: ControlSocket | undefined;
  #metrics: MetricsEndpoint | undefined;
  #stopping: Promise<void> | undefined;

  /** Use `serve`. */
  private constructor(options: CompleteServeOptions, parts: ServerParts) {
    super();
    const { limits, audit } = parts;
    const { certsDir, trustedKeysPath } = options;
    this.limits = limits;
    this.#trust = parts.trust;
    this.#catalogue = parts.catalogue;
    const { served } = parts.catalogue;
    const trustIsSigned = () => served.listsTrustFile;
    this.#audit = audit;
    const trust = () => this.#trust;
    const observers = new Observers([
      new ConnectionLog(),
      new RefusalLog(trustedKeysPath, trust),
      new ChangeLog(),
      ...parts.observers,
      new ServerEvents(this),
    ]);
    this.#observers = observers;
    const reloadTrust = async () => this.#trustWatch?.check();
    const ownKey = new OwnKey({
      certsDir,
      identity: parts.identity,
      onIdentity: (identity) => this.#listener?.use(identity),
      onNext: () => this.#sessions.announceKey(),
    });
    this.#ownKey = ownKey;
    this.#pairing = new Pairing({
      certsDir,
      trustedKeysPath,
      // Joining is as much of a handshake as the TLS one, so it may take as long.
      withinMs: limits.handshakeMs,
      fingerprint: () => this.fingerprint,
      trustIsSigned,
      reloadTrust,
      observers,
    });
    const { rotationsPerMinute } = limits;
    const rotations = new ClientRotations({
      trustedKeysPath,
      rotationsPerMinute,
      trustIsSigned,
      reloadTrust,
      observers,
    });
    this.#sandbox = sandboxStatus(options.sandbox, sandboxSupport());
    this.#hosts = new SpareProcesses({ ...options.hosts, sandbox: options.sandbox });
    this.#registry = createRegistry(options, limits, this.#hosts, (source) => served.admit(source));
    const registry = this.#registry;
    const sandbox = this.#sandbox;
    this.#sessions = new Sessions({
      limits,
      sandbox,
      registry,
      observers,
      trust,
      ownKey,
      rotations,
      catalogue: served,
    });
  }

  /**
   * Reads trust and identity, lists the modules, then listens. Throws when any of that cannot be done. A port in use is
   * found before modules load; only a program that takes the port in the meantime is found at the end.
   */
  static async start(given: ServeOptions = {}): Promise<VeripyServer> {
    const options = { ...defaultServeOptions, ...given };
    let server: VeripyServer | undefined;
    const limits = withDefaultLimits(given.limits);
    const { certsDir, trustedKeysPath, hostname, port } = options;
    for (const warning of await checkOptions(options)) log.warn("{warning}", { warning });
    // Imported on demand: it is a third of what the server would otherwise load.
    const metrics =
      options.metrics === undefined ? undefined : await import("./observers/metrics-endpoint.ts");
    const counts = metrics === undefined ? undefined : new metrics.Metrics();
    const trustOnDisk = await readTrustedKeys(trustedKeysPath);
    // A port in use is found now rather than when all modules have loaded.
    probe(hostname, port);
    if (options.metrics !== undefined) metrics?.probeMetrics(options.metrics.hostname, options.metrics.port);
    const audit = options.audit === undefined ? undefined : new AuditLog(options.audit);
    const calls = options.logCalls === true ? new CallLog() : undefined;
    // The last step that can fail: a start that fails leaves no new key behind.
    const identity = await loadServerIdentity(certsDir).catch((error) => {
      audit?.close();
      throw error;
    });
    const catalogue = await openCatalogue(options, () => server?.fingerprint ?? identity.fingerprint).catch(
      (error) => {
        audit?.close();
        throw error;
      },
    );
    const observers = [...options.observers, audit, counts, calls].filter(
      (observer) => observer !== undefined,
    );
    const trust = catalogue.admittedTrust(trustOnDisk);
    server = new VeripyServer(options, { identity, limits, trust, audit, observers, catalogue });
    try {
      await server.#start(options);
      if (metrics !== undefined && counts !== undefined && options.metrics !== undefined) {
        const { hostname, port } = options.metrics;
        server.#metrics = metrics.serveMetrics(counts, server.#metricsSource(), hostname, port);
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

  /** The key that new connections see. It changes when the key is rotated. */
  get identity(): Identity {
    return this.#ownKey.identity;
  }

  get fingerprint(): Fingerprint {
    return this.identity.fingerprint;
  }

  get isDraining(): boolean {
    return this.#stopping !== undefined;
  }

  /** Why the server is not ready: no catalogue is accepted, or no longer. Undefined when it is. */
  get problem(): string | undefined {
    return this.#catalogue.follower.problem;
  }

  /** The clients that are connected. */
  get sessions(): ReadonlySet<ConnectedClient> {
    return this.#sessions.all;
  }

  /** Per module: version, process, memory, calls, failures, restarts, run times. */
  stats(): VersionStats[] {
    return this.#registry.stats();
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

  async #start({ hostname, port, certsDir, trustedKeysPath, control }: CompleteServeOptions): Promise<void> {
    this.#observers.starting({ sandbox: this.#sandbox });
    this.#catalogue.onChange = (change) => this.#catalogueChanged(change);
    this.#registry.onChange((change) => this.#moduleChanged(change));
    await this.#registry.start();
    this.#hosts.open();
    this.#trustWatch = watchTrustedKeys(trustedKeysPath, {
      current: this.#trust,
      admit: (text) => this.#catalogue.served.admitTrust(text),
      onChange: (keys) => this.#trustChanged(keys),
      onError: (error) => this.#observers.trustChanged({ error: error.message }),
    });
    this.#catalogue.follower.follow(this.#registry, async () => this.#trustWatch?.recheck());
    this.#listener = await listen({
      hostname,
      port,
      identity: this.identity,
      limits: this.limits,
      verdict: (fingerprint, address) => this.#trust.verdict(fingerprint, address),
      strangers: this.#pairing,
      onPeer: (peer) => this.#sessions.accept(peer),
      onRefused: (refusal) => this.#observers.refused(refusal),
    });
    await this.#ownKey.start();
    if (control) {
      this.#control = await ControlSocket.open(certsDir, {
        connections: () => connectionsOf(this.#sessions.all),
        disconnect: (who) => disconnect(who, this.#sessions.all, this.#trust, trustedKeysPath),
        retire: (mod, tree) => retire(mod, tree, this.#registry),
      });
    }
    log.info("Listening on {addresses}. This server's key is {fingerprint}.", {
      addresses: this.addresses,
      port: this.port,
      fingerprint: this.fingerprint,
    });
  }

  #moduleChanged(change: ModuleChange): void {
    this.#sessions.broadcast(change);
    this.#observers.moduleChanged(change);
  }

  #catalogueChanged(change: CatalogueChange): void {
    this.#observers.catalogueChanged(change);
    if (!("error" in change)) this.#sessions.announceCatalogue();
  }

  #trustChanged(keys: TrustedKeys): void {
    this.#trust = keys;
    this.#observers.trustChanged({ keys: keys.size });
    this.#sessions.applyTrust();
  }

  #metricsSource(): MetricsSource {
    const server = this;
    return {
      sessions: server.sessions,
      get moduleCount() {
        return server.#registry.current().length;
      },
      get isDraining() {
        return server.isDraining;
      },
      get problem() {
        return server.problem;
      },
      get catalogue() {
        return server.#catalogue.served.current?.catalogue;
      },
      isSandboxed: server.#sandbox.enforced,
      stats: () => server.stats(),
    };
  }

  async #stop(): Promise<void> {
    // `isDraining` must be true for everything that happens here, so let `#stopping` be set first.
    await Promise.resolve();
    this.#trustWatch?.close();
    this.#ownKey.close();
    this.#listener?.stop();
    this.#control?.close();
    this.#pairing.close();
    // Modules stop after the sessions: observers of their ends may look at the modules.
    await this.#sessions.end(this.limits.shutdownMs);
    await this.#catalogue.follower.close();
    await this.#registry.stop();
    await this.#hosts.close();
    this.#metrics?.stop();
    this.#audit?.close();
    log.info("Stopped.");
  }
}

interface ServerParts {
  readonly identity: Identity;
  readonly limits: Readonly<Limits>;
  readonly trust: TrustedKeys;
  readonly audit: AuditLog | undefined;
  readonly observers: readonly ServerObserver[];
  readonly catalogue: CatalogueParts;
}

/**
 * Starts a server and resolves when it listens. Whether each module loads is then found out in the background; with `eager`
 * that comes first. Rejects with `bad_config` or
 * `bad_identity`, and a message that says what to do, when it cannot.
 */
export function serve(options: ServeOptions = {}): Promise<VeripyServer> {
  return VeripyServer.start(options);
}
