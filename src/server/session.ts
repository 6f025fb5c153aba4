import { type Deadline, deadlines } from "../base/deadlines.ts";
import { VeripyError, type WireCode } from "../base/errors.ts";
import type { Limits } from "../base/limits.ts";
import { loggerOf } from "../base/log.ts";
import { LogGate } from "../base/log-gate.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import type { Grant } from "../identity/trusted-keys.ts";
import type { CallClient, CallOutcome } from "../modules/call.ts";
import type { ModuleRegistry } from "../modules/registry.ts";
import type { RunnableVersion } from "../modules/runnable.ts";
import { Channel } from "../protocol/channel.ts";
import type { CloseReason } from "../protocol/duplex.ts";
import type { Frame } from "../protocol/frame.ts";
import {
  errorPayload,
  parsePayload,
  protocolVersion,
  syncRequest,
  verifyRequest,
} from "../protocol/messages.ts";
import type { Peer } from "../tls/peer.ts";
import { ExecRequestReader } from "./exec-request.ts";
import type { CallRecord, PeerLabel, RequestRecord, ServerObserver } from "./observer.ts";
import { keyOf, SessionCall } from "./session-call.ts";
import { VersionText } from "./version-text.ts";

const log = loggerOf("session");

const maxForbiddenLinesPerSecond = 10;

/** What a session needs of the server it belongs to. */
export interface SessionOwner {
  readonly registry: ModuleRegistry;
  readonly limits: Readonly<Limits>;
  readonly observers: readonly ServerObserver[];
  /** `name/version`, for `sys:info`. */
  readonly product: string;
  readonly isDraining: boolean;
  /** What clients are to be told of the server's next key; undefined when there is none. */
  announcement(session: Session): object | undefined;
  /** A client announces its next key: the payload of the answer. Never rejects. */
  rotate(session: Session, json: string): Promise<string>;
  /** Called once, when the session's connection has ended and its calls are aborted. */
  sessionEnded(session: Session, reason: CloseReason): void;
  /** Called whenever a session has no call in flight any more. */
  sessionIdle(session: Session): void;
}

/** One authenticated client: its requests, its permissions, its limits. */
export class Session implements PeerLabel {
  readonly fingerprint: Fingerprint;
  readonly address: string;
  readonly #remoteIp: string;
  readonly #owner: SessionOwner;
  readonly #channel: Channel;
  readonly #calls = new Map<number | string, SessionCall>();
  readonly #execRequests = new ExecRequestReader();
  /** Frames that arrived in one chunk with one that has to wait; reading is paused while there are any. */
  #backlog: Frame[] = [];
  #grant: Grant;
  /** This client as modules see it. */
  #client: CallClient;
  #closedFor: string | undefined;
  #isPaused = false;
  #isWorkingOff = false;
  #outputIsHigh = false;
  #missedBroadcasts = false;
  #framesSeen = 0;
  #framesAtLastCheck = 0;
  #queuedAtLastCheck = 0;
  #wasPinged = false;
  #isRotating = false;
  /** Most clients never need one. */
  #forbiddenGate: LogGate | undefined;
  #lifeCheck: Deadline;

  constructor(peer: Peer, grant: Grant, owner: SessionOwner) {
    this.fingerprint = peer.fingerprint;
    this.address = peer.address;
    this.#remoteIp = peer.remoteAddress;
    this.#grant = grant;
    this.#client = this.#labelled();
    this.#owner = owner;
    this.#channel = new Channel(peer.duplex, {
      maxLineBytes: owner.limits.maxLineBytes,
      onFrame: this.#frame,
      onDrained: () => this.#drained(),
      onClosed: (reason) => this.#closed(reason),
    });
    this.#lifeCheck = deadlines.arm(this, owner.limits.firstRequestMs);
  }

  get name(): string | undefined {
    return this.#grant.name;
  }

  get remoteIp(): string {
    return this.#remoteIp;
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

  /** Permissions as they are from now on; requests being worked on were allowed when they came. */
  setGrant(grant: Grant): void {
    this.#grant = grant;
    this.#client = this.#labelled();
  }

  #labelled(): CallClient {
    const { fingerprint, name } = this;
    return name === undefined ? { fingerprint } : { fingerprint, name };
  }

  /**
   * Sends a broadcast line about `mod`, if this client may know of it. A client that reads slowly gets no queue
   * of them but, once it has caught up, one `sys:resync`.
   */
  broadcast(line: string, mod: string): void {
    if (!this.#grant.mayAct("sync") || !this.#grant.maySee(mod)) return;
    if (this.#outputIsHigh) this.#missedBroadcasts = true;
    else this.#sendLine(line);
  }

  /** Tells the client that the server is about to stop; new calls are refused from here on. */
  announceDrain(ref: string): void {
    this.#send("sys", "drain", ref, "{}");
  }

  /** Tells the client of the server's next key; one that reads slowly learns it from its next sync. */
  announceKey(ref: string, json: string): void {
    if (this.#outputIsHigh) this.#missedBroadcasts = true;
    else this.#send("sys", "rotate", ref, json);
  }

  /** Says why, if the client still reads, then closes. Calls in flight are aborted. */
  close(code: WireCode, message: string): void {
    if (code !== "shutting_down") this.#closedFor ??= message;
    this.#send("sys", "error", "-", errorPayload(code, message));
    this.#abortCalls(code === "shutting_down" ? "shutting_down" : "cancelled", message);
    this.#channel.close();
  }

  /** The life check: a first request in time, then a frame at least every `idleMs`. */
  expire(): void {
    const { idleMs, firstRequestMs } = this.#owner.limits;
    if (this.#framesSeen === 0) {
      this.close("timeout", `No request came within ${firstRequestMs} ms of the handshake.`);
      return;
    }
    if (this.#showsLife()) {
      this.#wasPinged = false;
    } else if (this.#wasPinged) {
      this.close("timeout", `Nothing came for ${idleMs} ms, nor an answer to a ping.`);
      return;
    } else {
      this.#wasPinged = true;
      this.#send("sys", "ping", "idle", "{}");
    }
    this.#framesAtLastCheck = this.#framesSeen;
    this.#queuedAtLastCheck = this.queuedBytes;
    this.#lifeCheck = deadlines.arm(this, idleMs / 2);
  }

  /** After the first request it is the idle time that counts. */
  #expectLife(): void {
    this.#lifeCheck.disarm();
    this.#lifeCheck = deadlines.arm(this, this.#owner.limits.idleMs / 2);
  }

  /** Since the last check something came, or left; or it is this side that does not read, being at work. */
  #showsLife(): boolean {
    if (this.#framesSeen !== this.#framesAtLastCheck) return true;
    return this.#outputIsHigh ? this.queuedBytes < this.#queuedAtLastCheck : this.#isPaused;
  }

  readonly #frame = (frame: Frame): void => {
    this.#framesSeen += 1;
    if (this.#framesSeen === 1) this.#expectLife();
    if (!this.#isPaused && !this.#mustWait(frame)) {
      this.#handle(frame);
      return;
    }
    this.#backlog.push(frame);
    this.#adjustReading();
  };

  /** No room for its answer, or for one more call. */
  #mustWait({ api, type }: Frame): boolean {
    if (this.#outputIsHigh) return true;
    return api === "mod" && type === "exec" && this.#calls.size >= this.#owner.limits.maxRequestsInFlight;
  }

  #handle(frame: Frame): void {
    const { api, type } = frame;
    if (api === "mod" && type === "exec") this.#exec(frame);
    else if (api === "mod" && type === "sync") this.#answer("sync", frame, () => this.#sync(frame));
    else if (api === "mod" && type === "verify") this.#answer("verify", frame, () => this.#verify(frame));
    else if (api === "mod" && type === "stats") this.#answer("stats", frame, () => this.#stats());
    else if (api === "mod" && type === "cancel") this.#calls.get(keyOf(frame))?.cancel();
    else if (api === "sys" && type === "ping") this.#send("sys", "pong", frame.ref, "{}");
    else if (api === "sys" && type === "pong") return;
    else if (api === "sys" && type === "rotate") void this.#rotate(frame);
    else if (api === "sys" && type === "info") this.#send("sys", "info_resp", frame.ref, this.#info());
    else
      this.#send(
        api,
        "error",
        frame.ref,
        errorPayload("bad_request", `There is no request '${api}:${type}'.`),
      );
  }

  /** Runs a request that is answered at once; `produce` gives the payload or throws a VeripyError. */
  #answer(action: "sync" | "verify" | "stats", frame: Frame, produce: () => Answer): void {
    const startedAt = performance.now();
    let answer: Answer;
    try {
      answer = produce();
    } catch (error) {
      if (!(error instanceof VeripyError)) throw error;
      answer = { json: errorPayload(error.code as WireCode, error.message), code: error.code as WireCode };
    }
    if (this.#isObserved) {
      this.#report({
        peer: this,
        action,
        ref: frame.ref,
        ...(answer.mod === undefined ? {} : { mod: answer.mod }),
        ...(answer.tree === undefined ? {} : { tree: answer.tree }),
        code: answer.code ?? "ok",
        durationMs: performance.now() - startedAt,
      });
    }
    this.#send("mod", `${frame.type}_resp`, frame.ref, answer.json);
  }

  #sync(frame: Frame): Answer {
    parsePayload(syncRequest, frame.json);
    this.#mustBeAllowed("sync");
    const visible = this.#owner.registry.current().filter((version) => this.#grant.maySee(version.mod));
    const rotation = this.#owner.announcement(this);
    const reports = visible.map((version) => VersionText.of(version).report).join(",");
    const more = rotation === undefined ? "" : `,"rotation":${JSON.stringify(rotation)}`;
    return { json: `{"modules":[${reports}]${more}}` };
  }

  #verify(frame: Frame): Answer {
    const { mod } = parsePayload(verifyRequest, frame.json);
    this.#mustBeAllowed("verify", mod);
    const version = this.#find(mod);
    return { json: VersionText.of(version).verify, mod, tree: version.tree };
  }

  #stats(): Answer {
    this.#mustBeAllowed("sync");
    const modules = this.#owner.registry.stats().filter((stats) => this.#grant.maySee(stats.mod));
    return { json: JSON.stringify({ modules }) };
  }

  /** One at a time: each may write a file. */
  async #rotate({ ref, json }: Frame): Promise<void> {
    if (this.#isRotating) {
      const message = "This connection has announced a key already, and has no answer yet.";
      this.#send("sys", "rotate_resp", ref, errorPayload("busy", message));
      return;
    }
    this.#isRotating = true;
    const answer = await this.#owner.rotate(this, json);
    this.#isRotating = false;
    this.#send("sys", "rotate_resp", ref, answer);
  }

  #info(): string {
    return JSON.stringify({
      server: this.#owner.product,
      protocol: protocolVersion,
      limits: this.#owner.limits,
    });
  }

  #exec(frame: Frame): void {
    const { limits, isDraining } = this.#owner;
    const isObserved = this.#isObserved;
    const call = new SessionCall(this, frame, this.#client, isObserved ? performance.now() : 0);
    try {
      const { mod, argsJson, tree, timeoutMs } = this.#execRequests.read(frame);
      call.mod = mod;
      call.argsJson = argsJson;
      this.#mustBeAllowed("exec", mod);
      if (isDraining)
        throw new VeripyError("shutting_down", "The server is stopping and takes no more calls.");
      if (this.#calls.has(call.key)) {
        throw new VeripyError("bad_request", `Another call with the reference '${call.ref}' is in flight.`);
      }
      const version = this.#find(mod, tree);
      call.version = version;
      if (isObserved) this.#admit(call);
      this.#calls.set(call.key, call);
      call.timeoutMs = Math.min(timeoutMs ?? limits.execMs, limits.execMs);
      call.handle = version.call(call, call);
    } catch (error) {
      if (!(error instanceof VeripyError)) throw error;
      this.finish(call, { ok: false, code: error.code as WireCode, message: error.message });
    }
  }

  #admit({ ref, mod, version, args }: SessionCall): void {
    const record = { peer: this, ref, mod, tree: version?.tree, args } as CallRecord;
    for (const observer of this.#owner.observers) {
      const refusal = observer.admit?.(record);
      if (refusal !== undefined) throw new VeripyError("busy", refusal);
    }
  }

  #mustBeAllowed(action: "sync" | "verify" | "exec", mod?: string): void {
    if (this.#grant.mayAct(action) && (mod === undefined || this.#grant.maySee(mod))) return;
    const what = mod === undefined ? action : `${action} ${mod}`;
    this.#logForbidden(what);
    throw new VeripyError("forbidden", `This key may not ${what}.`);
  }

  /** So many lines a second and no more: a client must not fill the disk with what it may not do. */
  #logForbidden(what: string): void {
    this.#forbiddenGate ??= new LogGate(maxForbiddenLinesPerSecond);
    if (!this.#forbiddenGate.pass()) return;
    const who = this.name ?? this.fingerprint;
    log.warn("Forbidden: {who} may not {what}.", { who, what, address: this.address });
  }

  #find(mod: string, tree?: string): RunnableVersion {
    const found = this.#owner.registry.find(mod, tree);
    if ("version" in found) return found.version;
    if (found.reason === "not_found") throw new VeripyError("not_found", `There is no module '${mod}'.`);
    throw new VeripyError("version_mismatch", `No version of '${mod}' with the tree ${tree} is kept here.`);
  }

  /** Called by a call, once, at its end, or by a request that never became one. */
  finish(call: SessionCall, outcome: CallOutcome): void {
    if (this.#isObserved) this.#report(call.record(this, outcome));
    this.#sendLine(call.answer(outcome));
    if (this.#calls.get(call.key) !== call) return;
    this.#calls.delete(call.key);
    if (this.#isPaused) this.#adjustReading();
    if (this.#calls.size === 0) this.#owner.sessionIdle(this);
  }

  /** Called by a call for what comes before its end. False: the client reads slowly. */
  send(type: string, ref: string, json: string): boolean {
    this.#send("mod", type, ref, json);
    return !this.#outputIsHigh;
  }

  #send(api: string, type: string, ref: string, json: string): void {
    this.#channel.send(api, type, ref, json);
    this.#watchOutput();
  }

  #sendLine(line: string): void {
    this.#channel.sendLine(line);
    this.#watchOutput();
  }

  #watchOutput(): void {
    if (!this.#outputIsHigh && this.#channel.isHigh) {
      this.#outputIsHigh = true;
      this.#adjustReading();
    }
  }

  #drained(): void {
    this.#outputIsHigh = false;
    if (this.#missedBroadcasts) {
      this.#missedBroadcasts = false;
      this.#send("sys", "resync", "missed", "{}");
    }
    for (const call of this.#calls.values()) call.handle?.resume();
    this.#adjustReading();
  }

  /**
   * First works off what was read already, then reads again; pauses when something of it has to wait. A client
   * that stays within its limit is always read, so that its cancels and its goodbye are seen.
   */
  #adjustReading(): void {
    // A call that ends at once comes back here.
    if (this.#isWorkingOff) return;
    this.#isWorkingOff = true;
    try {
      for (
        let next = this.#backlog[0];
        next !== undefined && !this.#mustWait(next);
        next = this.#backlog[0]
      ) {
        this.#backlog.shift();
        this.#handle(next);
      }
    } finally {
      this.#isWorkingOff = false;
    }
    const mustPause = this.#outputIsHigh || this.#backlog.length > 0;
    if (mustPause === this.#isPaused) return;
    this.#isPaused = mustPause;
    if (mustPause) this.#channel.pause();
    else this.#channel.resume();
  }

  get #isObserved(): boolean {
    return this.#owner.observers.length > 0;
  }

  #report(record: RequestRecord): void {
    for (const observer of this.#owner.observers) observer.answered?.(record);
  }

  #abortCalls(code: "cancelled" | "shutting_down", message: string): void {
    this.#backlog = [];
    for (const call of [...this.#calls.values()]) call.handle?.abort(code, message);
  }

  #closed(reason: CloseReason): void {
    this.#lifeCheck.disarm();
    this.#abortCalls("cancelled", "The client has left.");
    this.#owner.sessionEnded(this, reason);
  }
}

interface Answer {
  readonly json: string;
  readonly mod?: string;
  readonly tree?: string;
  readonly code?: WireCode;
}
