import type { WireCode } from "../base/errors.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import type { ModuleRegistry } from "../modules/registry.ts";
import { Channel } from "../protocol/channel.ts";
import type { CloseReason } from "../protocol/duplex.ts";
import type { Frame } from "../protocol/frame.ts";
import { errorPayload } from "../protocol/messages.ts";
import type { Peer } from "../tls/peer.ts";
import type { Grant } from "../trust/trusted-keys.ts";
import type { PlaceHolder } from "./key-places.ts";
import { type CheckedConnection, LifeCheck } from "./life-check.ts";
import { ModuleAccess } from "./module-access.ts";
import type { ClientLabel } from "./observers/observer.ts";
import { type QueuedSession, RequestQueue } from "./request-queue.ts";
import { SessionCalls } from "./session-calls.ts";
import { SessionOutput, stateLane } from "./session-output.ts";
import { type RequestedServer, SessionRequests } from "./session-requests.ts";

/** What a session needs of the server it belongs to. */
export interface SessionOwner extends RequestedServer {
  readonly registry: ModuleRegistry;
  readonly isDraining: boolean;
  /** Called once, when the session's connection has ended and its calls are aborted. */
  sessionEnded(session: Session, reason: CloseReason): void;
  /** Called whenever a session no longer has a call in flight. */
  sessionIdle(): void;
}

/** A client that is connected, as an embedding program sees it. */
export interface ConnectedClient extends ClientLabel {
  readonly since: Date;
  readonly callsInFlight: number;
  /** Output that the client has not taken yet. */
  readonly queuedBytes: number;
}

/** One authenticated client: its requests, its permissions, its limits. */
export class Session implements ConnectedClient, CheckedConnection, PlaceHolder, QueuedSession {
  readonly fingerprint: Fingerprint;
  readonly address: string;
  readonly remoteIp: string;
  readonly since = new Date();
  readonly #owner: SessionOwner;
  readonly #channel: Channel;
  readonly #access: ModuleAccess;
  readonly #queue: RequestQueue;
  readonly #output: SessionOutput;
  readonly #calls: SessionCalls;
  readonly #requests: SessionRequests;
  readonly #lifeCheck: LifeCheck;
  #closedFor: string | undefined;

  constructor(peer: Peer, grant: Grant, owner: SessionOwner) {
    this.fingerprint = peer.fingerprint;
    this.address = peer.address;
    this.remoteIp = peer.remoteAddress;
    this.#owner = owner;
    this.#access = new ModuleAccess(owner.registry, grant, (request) =>
      owner.observers.forbidden(this, request),
    );
    this.#queue = new RequestQueue(this, owner.limits);
    this.#channel = new Channel(peer.duplex, {
      maxLineBytes: owner.limits.maxLineBytes,
      onFrame: (frame) => {
        this.#lifeCheck.frameCame();
        this.#queue.add(frame);
      },
      onDrained: () => this.#drained(),
      onClosed: (reason) => this.#closed(reason),
      onReceived: () => this.#lifeCheck.bytesCame(),
    });
    this.#output = new SessionOutput(this.#channel, () => this.#queue.advance());
    this.#calls = new SessionCalls(this, owner, this.#access, this.#output, () => this.#callEnded());
    this.#requests = new SessionRequests(this, owner, this.#access, this.#output, this.#calls);
    this.#lifeCheck = new LifeCheck(this, owner.limits);
  }

  get name(): string | undefined {
    return this.#access.grant.name;
  }

  get mayRun(): boolean {
    return this.#access.mayRun;
  }

  /** Why this side closed the connection; undefined when the client did, or the server stops. */
  get closedFor(): string | undefined {
    return this.#closedFor;
  }

  get callsInFlight(): number {
    return this.#calls.size;
  }

  get queuedBytes(): number {
    return this.#channel.queuedBytes;
  }

  get isBehind(): boolean {
    return this.#output.isBehind;
  }

  /** Reading has stopped until there is room for more. */
  get isPaused(): boolean {
    return this.#queue.isPaused;
  }

  /** PlaceHolder. */
  get heardAt(): number {
    return this.#lifeCheck.heardAt;
  }

  /** PlaceHolder. */
  probe(ms: number): Promise<boolean> {
    return this.#lifeCheck.probe(ms);
  }

  /** PlaceHolder: called before the first request arrives. */
  hold(): void {
    this.#queue.hold();
  }

  /** PlaceHolder: handles the requests that arrived in the meantime. */
  admit(): void {
    this.#queue.release();
  }

  /** Replaces the permissions. Requests in progress were allowed when they arrived, and go on. */
  setGrant(grant: Grant): void {
    this.#access.setGrant(grant);
  }

  /** Whether this client may know of the module. */
  maySee(mod: string): boolean {
    return this.#access.maySee(mod);
  }

  /** Sends a broadcast line about `mod`, if this client may know of it. */
  broadcast(line: string, mod: string): void {
    if (!this.#queue.isHeld && this.#access.mayFollow(mod)) this.#output.sendNews(line);
  }

  /** Sends the line that announces the server's next key. */
  announceKey(line: string): void {
    if (!this.#queue.isHeld) this.#output.sendNews(line);
  }

  /** Sends the line that says which catalogue the server has, if this client may have it. */
  announceCatalogue(line: string): void {
    if (!this.#queue.isHeld && this.#access.mayHaveCatalogue) this.#output.sendNews(line);
  }

  /** Tells the client that the server is about to stop. */
  announceDrain(ref: string): void {
    this.#output.send("sys", "drain", ref, "{}", stateLane);
  }

  /** Says why, if the client still reads, then closes. Calls in flight are aborted. */
  close(code: WireCode, message: string): void {
    if (code !== "shutting_down") this.#closedFor ??= message;
    // Without a lane: it is the last word, behind everything that is still queued.
    this.#channel.send("sys", "error", "-", errorPayload(code, message));
    this.#abortCalls(code === "shutting_down" ? "shutting_down" : "cancelled", message);
    this.#channel.close();
  }

  ping(): void {
    this.#output.send("sys", "ping", "idle", "{}");
  }

  /** QueuedSession. */
  pauseReading(): void {
    this.#channel.pause();
  }

  /** QueuedSession. */
  resumeReading(): void {
    this.#channel.resume();
  }

  /** QueuedSession. */
  handle(frame: Frame): void {
    this.#requests.handle(frame);
  }

  #callEnded(): void {
    if (this.isPaused) this.#queue.advance();
    if (this.#calls.size === 0) this.#owner.sessionIdle();
  }

  #drained(): void {
    this.#output.drained();
    if (!this.#output.isFull) this.#calls.resume();
    this.#queue.advance();
  }

  #abortCalls(code: "cancelled" | "shutting_down", message: string): void {
    this.#queue.clear();
    this.#calls.abort(code, message);
  }

  #closed(reason: CloseReason): void {
    this.#lifeCheck.stop();
    this.#abortCalls("cancelled", "The client has left.");
    this.#owner.sessionEnded(this, reason);
  }
}
