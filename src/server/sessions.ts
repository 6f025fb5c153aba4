import { VeripyError } from "../base/errors.ts";
import type { Limits } from "../base/limits.ts";
import { product } from "../base/version.ts";
import type { SignedRotation } from "../identity/rotation-statement.ts";
import type { ModuleChange } from "../modules/module-slot.ts";
import type { ModuleRegistry } from "../modules/registry.ts";
import type { CloseReason } from "../protocol/duplex.ts";
import { encodeFrame } from "../protocol/frame.ts";
import type { SandboxStatus } from "../protocol/messages.ts";
import type { Peer } from "../tls/peer.ts";
import type { TrustedKeys } from "../trust/trusted-keys.ts";
import { Broadcaster } from "./broadcast.ts";
import type { ServedCatalogue } from "./catalogue/served-catalogue.ts";
import { KeyPlaces } from "./key-places.ts";
import type { Observers } from "./observers/observers.ts";
import { Session, type SessionOwner } from "./session.ts";
import type { KeyedPeer } from "./session-requests.ts";

/** What the sessions need of the server. */
export interface SessionsOptions {
  readonly limits: Readonly<Limits>;
  readonly sandbox: SandboxStatus;
  readonly registry: ModuleRegistry;
  readonly observers: Observers;
  /** The current trusted keys. */
  trust(): TrustedKeys;
  /** The server's own key, whose successor clients are told of. */
  readonly ownKey: {
    announcement(): SignedRotation | undefined;
    told(peer: KeyedPeer): void;
  };
  readonly catalogue: Pick<ServedCatalogue, "report" | "payload">;
  readonly rotations: {
    announce(peer: KeyedPeer, json: string): Promise<string>;
    confirm(peer: KeyedPeer): void;
  };
}

/** The sessions of a server: who is let in, what all of them are told, and how they end. */
export class Sessions {
  readonly #options: SessionsOptions;
  readonly #owner: SessionOwner;
  readonly #all = new Set<Session>();
  readonly #places = new KeyPlaces<Session>();
  readonly #broadcaster = new Broadcaster();
  #isDraining = false;
  #whenIdle: (() => void) | undefined;
  #whenEmpty: (() => void) | undefined;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.#owner = this.#createOwner();
  }

  get all(): ReadonlySet<Session> {
    return this.#all;
  }

  /** Makes a session of a connection that has finished its handshake, or refuses it. */
  accept(peer: Peer): void {
    const { limits, observers, rotations, trust } = this.#options;
    const grant = trust().grantFor(peer.fingerprint, peer.remoteAddress);
    if (grant === undefined) {
      // The trust file changed between the handshake and now.
      peer.duplex.abort(new VeripyError("untrusted", "The key is not trusted."));
      return;
    }
    const session = new Session(peer, grant, this.#owner);
    this.#all.add(session);
    observers.connected(session);
    if (grant.next === peer.fingerprint) rotations.confirm(session);
    const { maxConnections, maxConnectionsPerKey } = limits;
    if (this.#isDraining) session.close("shutting_down", "The server is stopping.");
    else if (this.#all.size > maxConnections)
      session.close("busy", `The server has its limit of ${maxConnections} connections.`);
    else this.#places.enter(session, Math.min(grant.maxConnections ?? Infinity, maxConnectionsPerKey));
  }

  /** Tells every client that may know of the module. */
  broadcast(change: ModuleChange): void {
    this.#broadcaster.send(change, this.#all);
  }

  /** Tells every client of the server's next key. */
  announceKey(): void {
    const { ownKey } = this.#options;
    const ref = this.#broadcaster.nextRef();
    const line = encodeFrame("sys", "rotate", ref, JSON.stringify(ownKey.announcement()));
    for (const session of this.#all) {
      session.announceKey(line);
      ownKey.told(session);
    }
  }

  /** Tells every client that may have the catalogue which one the server has now. */
  announceCatalogue(): void {
    const { report } = this.#options.catalogue;
    if (report === undefined) return;
    const line = encodeFrame("sys", "catalogue", this.#broadcaster.nextRef(), JSON.stringify(report));
    for (const session of this.#all) session.announceCatalogue(line);
  }

  /** Applies the current trusted keys: sessions get their new permissions, and those of removed keys are closed. */
  applyTrust(): void {
    const keys = this.#options.trust();
    for (const session of [...this.#all]) {
      const grant = keys.grantFor(session.fingerprint, session.remoteIp);
      if (grant === undefined) session.close("forbidden", distrustText(keys, session));
      else session.setGrant(grant);
    }
  }

  /**
   * Announces the end to all clients, gives calls in flight `drainMs` to finish, then closes all sessions. Resolves when
   * they have ended, at most two seconds after they were closed, whatever their clients do. Call it once.
   */
  async end(drainMs: number): Promise<void> {
    this.#isDraining = true;
    const ref = this.#broadcaster.nextRef();
    for (const session of this.#all) session.announceDrain(ref);
    await this.#idle(drainMs);
    for (const session of [...this.#all]) session.close("shutting_down", "The server is stopping.");
    await this.#empty();
  }

  #createOwner(): SessionOwner {
    const sessions = this;
    const { limits, sandbox, registry, observers, ownKey, rotations, catalogue } = this.#options;
    return {
      limits,
      sandbox,
      registry,
      observers,
      catalogue,
      product,
      get isDraining() {
        return sessions.#isDraining;
      },
      announcement(peer) {
        const statement = ownKey.announcement();
        if (statement !== undefined) ownKey.told(peer);
        return statement;
      },
      rotate: (peer, json) => rotations.announce(peer, json),
      sessionEnded: (session, reason) => sessions.#ended(session, reason),
      sessionIdle: () => sessions.#checkIdle(),
    };
  }

  #ended(session: Session, reason: CloseReason): void {
    this.#all.delete(session);
    this.#places.leave(session);
    const fault = reason?.message ?? session.closedFor;
    this.#options.observers.disconnected(session, fault ?? "closed", fault !== undefined);
    this.#checkIdle();
    if (this.#all.size === 0) this.#whenEmpty?.();
  }

  #checkIdle(): void {
    if (this.#whenIdle === undefined) return;
    for (const session of this.#all) if (session.callsInFlight > 0) return;
    this.#whenIdle();
  }

  /** Resolves when no session has a call in flight, or after `ms`. */
  #idle(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#whenIdle = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#checkIdle();
    });
  }

  /** Resolves when the last session has ended. */
  #empty(): Promise<void> {
    return new Promise((resolve) => {
      this.#whenEmpty = resolve;
      if (this.#all.size === 0) resolve();
    });
  }
}

/** Why a session is closed whose key is no longer let in. */
function distrustText(keys: TrustedKeys, { fingerprint, remoteIp }: Session): string {
  const verdict = keys.verdict(fingerprint, remoteIp);
  if (verdict === "expired") return "The entry of this key has expired.";
  if (verdict === "wrong_address") return `The entry of this key does not allow the address ${remoteIp}.`;
  return "This key is no longer trusted.";
}
