import { isSystemError, VeripyError } from "../base/errors.ts";
import { isDeeperThan } from "../base/json-depth.ts";
import type { Limits } from "../base/limits.ts";
import { Channel } from "../protocol/channel.ts";
import type { CloseReason } from "../protocol/duplex.ts";
import type { Frame } from "../protocol/frame.ts";
import {
  type CatalogueReport,
  catalogueReport,
  errorAnswer,
  type ModuleReport,
  maxPayloadDepth,
  moduleError,
  moduleReport,
  parseAnswer,
  removedModule,
} from "../protocol/messages.ts";
import type { Peer, TlsSession } from "../tls/peer.ts";
import { Keepalive } from "./keepalive.ts";
import type { ServerKeyNews } from "./server-key-follower.ts";

/** A broadcast from the server, as a client reports it. */
export type ServerNews = WireNews | ServerKeyNews;

/** The broadcasts that are reported as they came. */
export type WireNews =
  | { readonly kind: "modload" | "modreload"; readonly mod: string; readonly report: ModuleReport }
  | { readonly kind: "modunload"; readonly mod: string }
  | { readonly kind: "moderror"; readonly mod: string; readonly error: string }
  | { readonly kind: "drain" }
  /** The server has another catalogue. */
  | { readonly kind: "catalogue"; readonly report: CatalogueReport }
  /** This client read too slowly and missed some broadcasts. A sync brings it up to date. */
  | { readonly kind: "resync" };

export interface ConnectionOptions {
  limits: Readonly<Limits>;
  /** This client's fingerprint, for the advice in the error when the server does not accept it. */
  fingerprint: string;
  /** How long the server may be silent before it is pinged. */
  keepaliveMs: number;
  /** How long a pong may take after its ping has left this process. */
  pongMs: number;
  /** A pong has arrived. */
  onPong?(tookMs: number): void;
  onNews(news: WireNews): void;
  /** The server announces its next key. The payload is not checked yet. */
  onRotation(announcement: unknown): void;
  onClosed(reason: VeripyError): void;
}

/** What a client knows of its connection. */
export interface ClientSession extends TlsSession {
  /** `ip:port` of the server. */
  readonly address: string;
  /** How long connecting took, including the handshake. */
  readonly connectMs: number;
}

/** One authenticated connection to a server: its channel, its broadcasts and its keepalive. */
export class Connection {
  readonly channel: Channel;
  readonly #peer: Peer;
  readonly #options: ConnectionOptions;
  readonly #openedAt = performance.now();
  #hasHeard = false;
  #lastWord: VeripyError | undefined;
  /** Undefined until the server has shown that it knows more than the plain protocol. */
  #keepalive: Keepalive | undefined;

  constructor(peer: Peer, options: ConnectionOptions) {
    this.#peer = peer;
    this.#options = options;
    this.channel = new Channel(peer.duplex, {
      maxLineBytes: options.limits.maxAnswerLineBytes,
      onFrame: (frame) => this.#frame(frame),
      onReceived: () => {
        this.#hasHeard = true;
        this.#keepalive?.heard();
      },
      explain: (reason) => this.#explain(reason),
      onClosed: (reason) => this.#closed(reason),
    });
  }

  get session(): ClientSession | undefined {
    const { address, connectMs = 0 } = this.#peer;
    const session = this.#peer.session?.();
    return session && { ...session, address, connectMs };
  }

  /** Closes once everything written has left. The process need not stay for the server's close, a round trip later. */
  close(): void {
    this.channel.close();
    if (this.channel.queuedBytes === 0) this.#peer.unref?.();
  }

  /** From now on a silent server is pinged, and the connection ends if it does not answer. Idempotent. */
  startPinging(): void {
    this.#keepalive ??= new Keepalive(this.channel, this.#options);
  }

  #frame(frame: Frame): void {
    try {
      this.#handle(frame);
    } catch (error) {
      if (!(error instanceof VeripyError)) throw error;
      this.channel.abort(
        new VeripyError("protocol_error", `The server broke the protocol: ${error.message}`),
      );
    }
  }

  #handle(frame: Frame): void {
    const { onNews } = this.#options;
    switch (`${frame.api}:${frame.type}`) {
      case "modload:modload":
      case "modreload:modreload": {
        const report = parseAnswer(moduleReport, frame.json);
        onNews({ kind: frame.api as "modload" | "modreload", mod: report.mod, report });
        break;
      }
      case "modunload:modunload":
        onNews({ kind: "modunload", mod: parseAnswer(removedModule, frame.json).mod });
        break;
      case "moderror:moderror":
        onNews({ kind: "moderror", ...parseNewsOfError(frame.json) });
        break;
      case "sys:drain":
        onNews({ kind: "drain" });
        break;
      case "sys:catalogue":
        onNews({ kind: "catalogue", report: parseAnswer(catalogueReport, frame.json) });
        break;
      case "sys:resync":
        onNews({ kind: "resync" });
        break;
      case "sys:rotate":
        this.#options.onRotation(safeJson(frame.json));
        break;
      case "sys:ping":
        this.channel.send("sys", "pong", frame.ref, "{}");
        break;
      case "sys:error":
        this.#lastWord = lastWordOf(frame.json);
        break;
      // Anything else is a late answer, or belongs to a newer version of the protocol.
    }
  }

  #closed(reason: CloseReason): void {
    this.#keepalive?.stop();
    const ours = new VeripyError("closed", "The connection was closed by this client.");
    this.#options.onClosed(reason ?? ours);
  }

  #explain(reason: CloseReason): VeripyError {
    if (this.#lastWord !== undefined) return this.#lastWord;
    const why = reason ?? new VeripyError("unreachable", "The server closed the connection.");
    if (this.#hasHeard || !isClose(reason)) return why;
    if (performance.now() - this.#openedAt <= this.#refusalMs) {
      return new VeripyError(
        "untrusted",
        "The server closed the connection without an answer. It may not trust this client's key, or the key's entry may " +
          "have expired or not allow this address; the server's log says why. If the key is new, run on the server: " +
          `veripy-server trust ${this.#options.fingerprint}`,
        { cause: reason },
      );
    }
    return new VeripyError(
      "unreachable",
      "The connection was closed before the server answered; the network may be losing packets. Try again.",
      { cause: reason },
    );
  }

  /**
   * In TLS 1.3 the server checks the client's key last, when the client has already finished its handshake, so a refusal
   * comes one round trip later. If the client's last message was lost, the server also closes, but at its own deadline.
   */
  get #refusalMs(): number {
    return Math.max(2_000, 2 * (this.#peer.connectMs ?? 0));
  }
}

/** Whether the peer, or something between, has closed the connection, rather than this side. */
function isClose(reason: CloseReason): boolean {
  return reason === undefined || isSystemError(reason.cause, "ECONNRESET", "EPIPE");
}

function parseNewsOfError(json: string): { mod: string; error: string } {
  const parsed = moduleError.safeParse(safeJson(json));
  if (!parsed.success) throw new VeripyError("protocol_error", "a moderror without a module or an error");
  return parsed.data;
}

function lastWordOf(json: string): VeripyError {
  const parsed = errorAnswer.safeParse(safeJson(json));
  if (!parsed.success)
    return new VeripyError(
      "protocol_error",
      "The server closed the connection with an error that can't be read.",
    );
  const { error, code } = parsed.data;
  return new VeripyError(
    code === "forbidden" ? "untrusted" : code,
    `The server closed the connection: ${error}`,
  );
}

function safeJson(json: string): unknown {
  if (isDeeperThan(json, maxPayloadDepth)) return undefined;
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
