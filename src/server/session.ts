import { VeripyError, type WireCode } from "../base/errors.ts";
import { unquote } from "../base/json-string.ts";
import type { Limits } from "../base/limits.ts";
import { snakeKeys } from "../base/snake-case.ts";
import type { CallClient, CallOutcome } from "../host/call.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import type { RunnableVersion } from "../modules/module-version.ts";
import type { ModuleRegistry } from "../modules/registry.ts";
import { Channel } from "../protocol/channel.ts";
import type { CloseReason } from "../protocol/duplex.ts";
import { type DecodedExecRequest, decodeExecRequest, type ExecRequestForm } from "../protocol/exec-codec.ts";
import type { Lane } from "../protocol/fair-queue.ts";
import type { Frame } from "../protocol/frame.ts";
import {
  emptyPayload,
  errorPayload,
  parsePayload,
  protocolVersion,
  syncRequest,
  verifyRequest,
} from "../protocol/messages.ts";
import type { Peer } from "../tls/peer.ts";
import type { Grant } from "../trust/trusted-keys.ts";
import { VersionText } from "./encoded-version.ts";
import type { PlaceHolder } from "./key-places.ts";
import { type CheckedConnection, LifeCheck } from "./life-check.ts";
import type { CallRecord, ClientLabel, RequestRecord, ServerObserver } from "./observers/observer.ts";
import { failureOf, logFault } from "./request-failure.ts";
import { encodeExecFailure, execRecord, type FailedOutcome, keyOf, SessionCall } from "./session-call.ts";

/** What is said of the modules and of the server stays in order. No REF is empty. */
const stateLane = "";
/** Requests that wait while others are still read, and their characters in all. */
const maxKeptFrames = 64;
const maxKeptLength = 64 * 1024;
/** Characters of a rotation statement: two keys and two signatures, whatever their kind. */
const maxRotationLength = 8 * 1024;

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
  /** The client has asked for what it may not have. */
  forbidden(session: Session, what: string): void;
  /** Called once, when the session's connection has ended and its calls are aborted. */
  sessionEnded(session: Session, reason: CloseReason): void;
  /** Called whenever a session has no call in flight any more. */
  sessionIdle(session: Session): void;
}

/** One authenticated client: its requests, its permissions, its limits. */
export class Session implements ClientLabel, CheckedConnection, PlaceHolder {
  readonly fingerprint: Fingerprint;
  readonly address: string;
  readonly since = new Date();
  readonly #remoteIp: string;
  readonly #owner: SessionOwner;
  readonly #channel: Channel;
  readonly #calls = new Map<number | string, SessionCall>();
  /** Most clients repeat it in their next request. */
  #execForm: ExecRequestForm | undefined;
  /** Frames that have to wait, and those that came behind them. */
  #backlog: Frame[] = [];
  #grant: Grant;
  /** This client as modules see it. */
  #client: CallClient;
  #closedFor: string | undefined;
  /** All requests wait: this key has all the connections that it may have. */
  #isHeld = false;
  #isPaused = false;
  #isWorkingOff = false;
  #outputIsHigh = false;
  #missedBroadcasts = false;
  #isRotating = false;
  readonly #lifeCheck: LifeCheck;

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
      onReceived: () => this.#lifeCheck.bytesCame(),
    });
    this.#lifeCheck = new LifeCheck(this, owner.limits);
  }

  get name(): string | undefined {
    return this.#grant.name;
  }

  get remoteIp(): string {
    return this.#remoteIp;
  }

  get mayRun(): boolean {
    if (!this.#grant.mayAct("exec")) return false;
    return this.#owner.registry.current().some(({ mod }) => this.#grant.maySee(mod));
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

  /** The client takes its answers too slowly. */
  get isBehind(): boolean {
    return this.#outputIsHigh;
  }

  /** Reading has stopped until there is room for more. */
  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** PlaceHolder. */
  get heardAt(): number {
    return this.#lifeCheck.heardAt;
  }

  /** PlaceHolder. */
  probe(ms: number): Promise<boolean> {
    return this.#lifeCheck.probe(ms);
  }

  /** PlaceHolder: before the first request has come. */
  hold(): void {
    this.#isHeld = true;
  }

  /** PlaceHolder: what came meanwhile is worked off. */
  admit(): void {
    this.#isHeld = false;
    this.#adjustReading();
  }

  /** Permissions as they are from now on; requests being worked on were allowed when they came. */
  setGrant(grant: Grant): void {
    this.#grant = grant;
    this.#client = this.#labelled();
  }

  /** Whether this client may know of the module. */
  maySee(mod: string): boolean {
    return this.#grant.maySee(mod);
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
    if (this.#isHeld || !this.#grant.mayAct("sync") || !this.#grant.maySee(mod)) return;
    if (this.#outputIsHigh) this.#missedBroadcasts = true;
    else this.#sendLine(line, stateLane);
  }

  /** Tells the client that the server is about to stop; new calls are refused from here on. */
  announceDrain(ref: string): void {
    this.#send("sys", "drain", ref, "{}", stateLane);
  }

  /** Tells the client of the server's next key; one that reads slowly learns it from its next sync. */
  announceKey(ref: string, json: string): void {
    if (this.#isHeld) return;
    if (this.#outputIsHigh) this.#missedBroadcasts = true;
    else this.#send("sys", "rotate", ref, json, stateLane);
  }

  /** Says why, if the client still reads, then closes. Calls in flight are aborted. */
  close(code: WireCode, message: string): void {
    if (code !== "shutting_down") this.#closedFor ??= message;
    // Without a lane: it is the last word, behind all that still has to leave.
    this.#channel.send("sys", "error", "-", errorPayload(code, message));
    this.#abortCalls(code === "shutting_down" ? "shutting_down" : "cancelled", message);
    this.#channel.close();
  }

  ping(): void {
    this.#send("sys", "ping", "idle", "{}");
  }

  readonly #frame = (frame: Frame): void => {
    this.#lifeCheck.frameCame();
    if (!this.#isPaused && !this.#mustWait(frame)) {
      this.#handle(frame);
      return;
    }
    this.#backlog.push(frame);
    this.#adjustReading();
  };

  /** No room for its answer, or for one more call. */
  #mustWait(frame: Frame): boolean {
    if (this.#isHeld) return true;
    if (isExec(frame) && this.#calls.size >= this.#owner.limits.maxRequestsInFlight) return true;
    return this.#outputIsHigh && !(isShort(frame) && this.#hasRoom);
  }

  /** Another call may end with the longest result, and so may all that are in flight. */
  get #hasRoom(): boolean {
    const { maxResultBytes, maxQueuedBytes } = this.#owner.limits;
    return this.queuedBytes + (this.#calls.size + 1) * maxResultBytes <= maxQueuedBytes;
  }

  /** Whatever a request brings about, it has an answer, and its connection goes on. */
  #handle(frame: Frame): void {
    try {
      this.#dispatch(frame);
    } catch (error) {
      const { api, type, ref } = frame;
      const { code, message } = failureOf(error, `${api}:${type}`, this);
      this.#send(api, answerTypeOf(type), ref, errorPayload(code, message));
    }
  }

  #dispatch(frame: Frame): void {
    const { api, type } = frame;
    if (api === "mod" && type === "exec") this.#exec(frame);
    else if (api === "mod" && type === "sync") this.#answer("sync", frame, () => this.#sync(frame));
    else if (api === "mod" && type === "verify") this.#answer("verify", frame, () => this.#verify(frame));
    else if (api === "mod" && type === "stats") this.#answer("stats", frame, () => this.#stats(frame));
    else if (api === "mod" && type === "cancel") this.#cancel(frame);
    else if (api === "sys" && type === "ping") this.#pong(frame);
    else if (api === "sys" && type === "pong") mustBeEmpty(frame);
    else if (api === "sys" && type === "rotate") this.#rotate(frame);
    else if (api === "sys" && type === "info") this.#info(frame);
    else
      this.#send(
        api,
        "error",
        frame.ref,
        errorPayload("bad_request", `There is no request '${api}:${type}'.`),
      );
  }

  /** Runs a request that is answered at once; `produce` gives the payload. */
  #answer(action: "sync" | "verify" | "stats", frame: Frame, produce: () => Answer): void {
    const startedAt = performance.now();
    let answer: Answer;
    try {
      answer = produce();
    } catch (error) {
      const { code, message } = failureOf(error, action, this);
      answer = { json: errorPayload(code, message), code };
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
    // In order with the broadcasts: no client may hear of a change first, and then of what was before it.
    this.#send("mod", `${frame.type}_resp`, frame.ref, answer.json, stateLane);
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

  #stats(frame: Frame): Answer {
    mustBeEmpty(frame);
    this.#mustBeAllowed("sync");
    const modules = this.#owner.registry.stats().filter((stats) => this.#grant.maySee(stats.mod));
    return { json: JSON.stringify({ modules: modules.map((stats) => snakeKeys(stats)) }) };
  }

  #cancel(frame: Frame): void {
    mustBeEmpty(frame);
    this.#calls.get(keyOf(frame))?.abort("cancelled", "The client cancelled the call.");
  }

  #pong(frame: Frame): void {
    mustBeEmpty(frame);
    this.#send("sys", "pong", frame.ref, "{}");
  }

  /** One at a time: each may write a file. What is refused here has cost nothing but its answer. */
  #rotate({ ref, json }: Frame): void {
    if (this.#isRotating)
      throw new VeripyError("busy", "This connection has announced a key already, and has no answer yet.");
    if (json.length > maxRotationLength)
      throw new VeripyError(
        "bad_request",
        `A rotation statement has ${json.length} characters, the limit is ${maxRotationLength}.`,
      );
    this.#isRotating = true;
    void this.#announced(json).then((answer) => {
      this.#isRotating = false;
      this.#send("sys", "rotate_resp", ref, answer);
    });
  }

  /** Never rejects. */
  async #announced(json: string): Promise<string> {
    try {
      return await this.#owner.rotate(this, json);
    } catch (error) {
      const { code, message } = failureOf(error, "rotate", this);
      return errorPayload(code, message);
    }
  }

  #info(frame: Frame): void {
    mustBeEmpty(frame);
    const json = JSON.stringify({
      server: this.#owner.product,
      protocol: protocolVersion,
      limits: snakeKeys(this.#owner.limits),
    });
    this.#send("sys", "info_resp", frame.ref, json);
  }

  #exec(frame: Frame): void {
    const startedAt = this.#isObserved ? performance.now() : 0;
    let request: DecodedExecRequest | undefined;
    let version: RunnableVersion | undefined;
    try {
      request = decodeExecRequest(frame, this.#execForm);
      this.#execForm = request.form;
      version = this.#versionFor(frame, request.form);
      if (this.#isObserved) this.#admitCall(frame.ref, request, version);
    } catch (error) {
      this.#refuseExec(frame, startedAt, request, version, error);
      return;
    }
    this.#startCall(frame, startedAt, request, version);
  }

  /** The version that an exec may run. Throws if it must not be run now, or by this client. */
  #versionFor(frame: Frame, { mod, tree }: ExecRequestForm): RunnableVersion {
    this.#mustBeAllowed("exec", mod);
    if (this.#owner.isDraining)
      throw new VeripyError("shutting_down", "The server is stopping and takes no more calls.");
    if (this.#calls.has(keyOf(frame)))
      throw new VeripyError("bad_request", `Another call with the reference '${frame.ref}' is in flight.`);
    return this.#find(mod, tree);
  }

  #admitCall(ref: string, { form: { mod }, argsJson }: DecodedExecRequest, { tree }: RunnableVersion): void {
    const record: CallRecord = { peer: this, ref, mod, tree, args: unquote(argsJson) };
    for (const observer of this.#owner.observers) {
      const refusal = observer.admit?.(record);
      if (refusal !== undefined) throw new VeripyError("busy", refusal);
    }
  }

  #refuseExec(
    frame: Frame,
    startedAt: number,
    request: DecodedExecRequest | undefined,
    version: RunnableVersion | undefined,
    error: unknown,
  ): void {
    const { ref } = frame;
    const { code, message } = failureOf(error, "exec", this);
    // The other codes imply that nothing has run.
    const started = code === "shutting_down" ? { started: false as const } : {};
    const outcome: FailedOutcome = { ok: false, code, message, ...started };
    if (this.#isObserved) {
      const { form, argsJson } = request ?? {};
      const exec = { ref, mod: form?.mod, argsJson, tree: version?.tree, parts: 0, startedAt };
      this.#report(execRecord(this, exec, outcome));
    }
    this.#sendLine(encodeExecFailure(ref, outcome), keyOf(frame));
  }

  #startCall(
    frame: Frame,
    startedAt: number,
    { form, argsJson }: DecodedExecRequest,
    version: RunnableVersion,
  ): void {
    const { execMs } = this.#owner.limits;
    const timeoutMs = Math.min(form.timeoutMs ?? execMs, execMs);
    const request = { argsJson, timeoutMs, client: this.#client, ref: frame.ref };
    const call = new SessionCall(this, keyOf(frame), version, request, startedAt);
    this.#calls.set(call.key, call);
    try {
      call.start();
    } catch (error) {
      const { code, message } = failureOf(error, "exec", this);
      // `busy` would say that nothing has run, but that is not known.
      call.done({ ok: false, code: code === "busy" ? "exec_failed" : code, message });
    }
  }

  #mustBeAllowed(action: "sync" | "verify" | "exec", mod?: string): void {
    if (this.#grant.mayAct(action) && (mod === undefined || this.#grant.maySee(mod))) return;
    const what = mod === undefined ? action : `${action} ${mod}`;
    this.#owner.forbidden(this, what);
    throw new VeripyError("forbidden", `This key may not ${what}.`);
  }

  #find(mod: string, tree?: string): RunnableVersion {
    const found = this.#owner.registry.find(mod, tree);
    if ("version" in found) return found.version;
    if (found.reason === "not_found") throw new VeripyError("not_found", `There is no module '${mod}'.`);
    throw new VeripyError("version_mismatch", `No version of '${mod}' with the tree ${tree} is kept here.`);
  }

  /** Called by a call, once, at its end. */
  finish(call: SessionCall, outcome: CallOutcome): void {
    if (this.#isObserved) this.#report(call.record(this, outcome));
    this.#sendLine(call.answer(outcome), call.key);
    if (this.#calls.get(call.key) !== call) return;
    this.#calls.delete(call.key);
    if (this.#isPaused) this.#adjustReading();
    if (this.#calls.size === 0) this.#owner.sessionIdle(this);
  }

  /** Called by a call for what comes before its end. False: it has to wait until `resume`. */
  send(call: SessionCall, type: string, json: string): boolean {
    this.#send("mod", type, call.ref, json, call.key);
    return !this.#channel.isFull;
  }

  #send(api: string, type: string, ref: string, json: string, lane: Lane = ref): void {
    this.#channel.send(api, type, ref, json, lane);
    this.#watchOutput();
  }

  #sendLine(line: string, lane: Lane): void {
    this.#channel.sendLine(line, lane);
    this.#watchOutput();
  }

  #watchOutput(): void {
    if (!this.#outputIsHigh && this.#channel.isHigh) {
      this.#outputIsHigh = true;
      this.#adjustReading();
    }
  }

  #drained(): void {
    this.#outputIsHigh = this.#channel.isHigh;
    if (this.#missedBroadcasts && !this.#outputIsHigh) {
      this.#missedBroadcasts = false;
      this.#send("sys", "resync", "missed", "{}", stateLane);
    }
    if (!this.#channel.isFull) for (const call of this.#calls.values()) call.resume();
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
    const mustPause = this.#mustPause();
    if (mustPause === this.#isPaused) return;
    this.#isPaused = mustPause;
    if (mustPause) this.#channel.pause();
    else this.#channel.resume();
  }

  #mustPause(): boolean {
    // Else it would not be seen when a newcomer leaves.
    if (this.#isHeld) return !isLittle(this.#backlog);
    const mayPass = this.#outputIsHigh && this.#hasRoom;
    if (this.#backlog.length === 0) return this.#outputIsHigh && !mayPass;
    // Lists and sources wait until the client has caught up. What is short may pass a few of them.
    return !mayPass || this.#backlog.some(isShort) || !isLittle(this.#backlog);
  }

  get #isObserved(): boolean {
    return this.#owner.observers.length > 0;
  }

  #report(record: RequestRecord): void {
    for (const observer of this.#owner.observers) {
      try {
        observer.answered?.(record);
      } catch (error) {
        logFault(error, `an observer of ${record.action}`, this);
      }
    }
  }

  #abortCalls(code: "cancelled" | "shutting_down", message: string): void {
    this.#backlog = [];
    for (const call of [...this.#calls.values()]) call.abort(code, message);
  }

  #closed(reason: CloseReason): void {
    this.#lifeCheck.stop();
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

function isExec({ api, type }: Frame): boolean {
  return api === "mod" && type === "exec";
}

/** Its answer is likely to be short, and never longer than the longest result. */
function isShort(frame: Frame): boolean {
  return isExec(frame) || frame.api === "sys" || frame.type === "cancel";
}

/** Few enough that reading may go on. */
function isLittle(frames: readonly Frame[]): boolean {
  if (frames.length >= maxKeptFrames) return false;
  return frames.reduce((sum, { json }) => sum + json.length, 0) < maxKeptLength;
}

/** Of a request without fields. The payload that nearly all of them have is not even parsed. */
function mustBeEmpty({ json }: Frame): void {
  if (json !== "{}") parsePayload(emptyPayload, json);
}

/** The type of a known request's answer; `error` when it has none. */
function answerTypeOf(type: string): string {
  if (type === "ping") return "pong";
  return type === "cancel" || type === "pong" ? "error" : `${type}_resp`;
}
