import { VeripyError, type WireCode } from "../base/errors.ts";
import type { Limits } from "../base/limits.ts";
import { snakeKeys } from "../base/snake-case.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import type { Frame } from "../protocol/frame.ts";
import { errorPayload, protocolVersion, type SandboxStatus } from "../protocol/messages.ts";
import type { ServedCatalogue } from "./catalogue/served-catalogue.ts";
import type { ModuleAccess } from "./module-access.ts";
import type { ClientLabel, PeerLabel } from "./observers/observer.ts";
import type { Observers } from "./observers/observers.ts";
import { failureOf } from "./request-failure.ts";
import type { SessionCalls } from "./session-calls.ts";
import { type SessionOutput, stateLane } from "./session-output.ts";
import { answerStats, answerSync, answerVerify, mustBeEmpty, type StateAnswer } from "./state-requests.ts";

/** Characters of a rotation statement: two keys and two signatures of any kind. */
const maxRotationLength = 8 * 1024;

/** A client, by its key. */
export type KeyedPeer = PeerLabel & { readonly fingerprint: Fingerprint };

/** What the requests of a session need of the server. */
export interface RequestedServer {
  readonly limits: Readonly<Limits>;
  readonly sandbox: SandboxStatus;
  readonly observers: Observers;
  readonly catalogue: Pick<ServedCatalogue, "report" | "payload">;
  /** `name/version`, for `sys:info`. */
  readonly product: string;
  /** What clients are told of the server's next key; undefined when there is none. */
  announcement(peer: KeyedPeer): object | undefined;
  /** A client announces its next key. Resolves with the payload of the answer; never rejects. */
  rotate(peer: KeyedPeer, json: string): Promise<string>;
}

/** Finds out what a request asks for, and answers it. */
export class SessionRequests {
  readonly #peer: ClientLabel & KeyedPeer;
  readonly #server: RequestedServer;
  readonly #access: ModuleAccess;
  readonly #output: SessionOutput;
  readonly #calls: SessionCalls;
  #isRotating = false;

  constructor(
    peer: ClientLabel & KeyedPeer,
    server: RequestedServer,
    access: ModuleAccess,
    output: SessionOutput,
    calls: SessionCalls,
  ) {
    this.#peer = peer;
    this.#server = server;
    this.#access = access;
    this.#output = output;
    this.#calls = calls;
  }

  /** Never throws: every request gets an answer, whatever happens, and the connection stays open. */
  handle(frame: Frame): void {
    try {
      this.#dispatch(frame);
    } catch (error) {
      const { api, type, ref } = frame;
      const { code, message } = failureOf(error, `${api}:${type}`, this.#peer);
      this.#output.send(api, answerTypeOf(type), ref, errorPayload(code, message));
    }
  }

  #dispatch(frame: Frame): void {
    if (frame.api === "mod") this.#dispatchMod(frame);
    else if (frame.api === "sys") this.#dispatchSys(frame);
    else this.#unknown(frame);
  }

  #dispatchMod(frame: Frame): void {
    const { type } = frame;
    if (type === "exec") this.#calls.exec(frame);
    else if (type === "sync") this.#answer(type, frame, () => this.#sync(frame));
    else if (type === "verify") this.#answer(type, frame, () => answerVerify(this.#access, frame));
    else if (type === "stats")
      this.#answer(type, frame, () => answerStats(this.#access, frame, this.#server.sandbox));
    else if (type === "cancel") this.#cancel(frame);
    else this.#unknown(frame);
  }

  #dispatchSys(frame: Frame): void {
    const { type } = frame;
    if (type === "ping") this.#pong(frame);
    else if (type === "pong") mustBeEmpty(frame);
    else if (type === "rotate") this.#rotate(frame);
    else if (type === "info") this.#info(frame);
    else if (type === "catalogue") this.#catalogue(frame);
    else this.#unknown(frame);
  }

  #unknown({ api, type, ref }: Frame): void {
    this.#output.send(
      api,
      "error",
      ref,
      errorPayload("bad_request", `There is no request '${api}:${type}'.`),
    );
  }

  /** Answers a request about state; `produce` returns the payload, or throws. */
  #answer(action: "sync" | "verify" | "stats", { ref }: Frame, produce: () => StateAnswer): void {
    const startedAt = performance.now();
    let answer: StateAnswer & { readonly code?: WireCode };
    try {
      answer = produce();
    } catch (error) {
      const { code, message } = failureOf(error, action, this.#peer);
      answer = { json: errorPayload(code, message), code };
    }
    const { observers } = this.#server;
    if (observers.watchRequests) {
      const { mod, tree, code = "ok" } = answer;
      observers.answered({
        peer: this.#peer,
        action,
        ref,
        ...(mod === undefined ? {} : { mod }),
        ...(tree === undefined ? {} : { tree }),
        code,
        durationMs: performance.now() - startedAt,
      });
    }
    this.#output.send("mod", `${action}_resp`, ref, answer.json, stateLane);
  }

  #sync(frame: Frame): StateAnswer {
    return answerSync(this.#access, frame, () => ({
      rotation: this.#server.announcement(this.#peer),
      catalogue: this.#access.mayHaveCatalogue ? this.#server.catalogue.report : undefined,
    }));
  }

  #cancel(frame: Frame): void {
    mustBeEmpty(frame);
    this.#calls.cancel(frame);
  }

  #pong(frame: Frame): void {
    mustBeEmpty(frame);
    this.#output.send("sys", "pong", frame.ref, "{}");
  }

  /** One at a time, as each may write a file. */
  #rotate({ ref, json }: Frame): void {
    if (this.#isRotating)
      throw new VeripyError(
        "busy",
        "This connection has already announced a key and is waiting for the answer.",
      );
    if (json.length > maxRotationLength)
      throw new VeripyError(
        "bad_request",
        `A rotation statement has ${json.length} characters, the limit is ${maxRotationLength}.`,
      );
    this.#isRotating = true;
    void this.#announced(json).then((answer) => {
      this.#isRotating = false;
      this.#output.send("sys", "rotate_resp", ref, answer);
    });
  }

  /** Never rejects. */
  async #announced(json: string): Promise<string> {
    try {
      return await this.#server.rotate(this.#peer, json);
    } catch (error) {
      const { code, message } = failureOf(error, "rotate", this.#peer);
      return errorPayload(code, message);
    }
  }

  /** `{}` → `{"catalogue","signature"}`. */
  #catalogue(frame: Frame): void {
    mustBeEmpty(frame);
    this.#access.authorizeCatalogue();
    const { payload } = this.#server.catalogue;
    if (payload === undefined) throw new VeripyError("not_found", "This server has no catalogue.");
    this.#output.send("sys", "catalogue_resp", frame.ref, payload, stateLane);
  }

  #info(frame: Frame): void {
    mustBeEmpty(frame);
    const json = JSON.stringify({
      server: this.#server.product,
      protocol: protocolVersion,
      limits: snakeKeys(this.#server.limits),
      sandbox: this.#server.sandbox,
    });
    this.#output.send("sys", "info_resp", frame.ref, json);
  }
}

/** The type of a known request's answer; `error` when it has none. */
function answerTypeOf(type: string): string {
  if (type === "ping") return "pong";
  return type === "cancel" || type === "pong" ? "error" : `${type}_resp`;
}
