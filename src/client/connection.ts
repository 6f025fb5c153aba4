import { isSystemError, VeripyError } from "../base/errors.ts";
import { isDeeperThan } from "../base/json-depth.ts";
import type { Limits } from "../base/limits.ts";
import { Channel } from "../protocol/channel.ts";
import type { CloseReason } from "../protocol/duplex.ts";
import type { Frame } from "../protocol/frame.ts";
import {
  errorAnswer,
  type ModuleReport,
  maxPayloadDepth,
  moduleError,
  moduleReport,
  parseAnswer,
} from "../protocol/messages.ts";
import type { Peer } from "../tls/peer.ts";
import { Keepalive } from "./keepalive.ts";
import type { ServerKeyNews } from "./server-key-follower.ts";

/** What a server says unasked. */
export type ServerNews = WireNews | ServerKeyNews;

/** The part of it that is as it came. */
export type WireNews =
  | { readonly kind: "modload" | "modreload"; readonly mod: string; readonly report: ModuleReport }
  | { readonly kind: "modunload"; readonly mod: string }
  | { readonly kind: "moderror"; readonly mod: string; readonly error: string }
  | { readonly kind: "drain" }
  /** This client was too slow for some broadcasts; a sync tells what they said. */
  | { readonly kind: "resync" };

export interface ConnectionOptions {
  limits: Readonly<Limits>;
  /** This client's fingerprint, for the advice when the server does not accept it. */
  fingerprint: string;
  /** A server that is silent for this long is pinged. */
  keepaliveMs: number;
  /** A pong may take this long, from when its ping left this process. */
  pongMs: number;
  /** A pong has come, after this long. */
  onPong?(tookMs: number): void;
  onNews(news: WireNews): void;
  /** The server announces its next key, in a payload that nobody has checked. */
  onRotation(announcement: unknown): void;
  onClosed(reason: VeripyError): void;
}

/** One authenticated connection to a server: its channel, its broadcasts, its life signs. */
export class Connection {
  readonly channel: Channel;
  readonly #peer: Peer;
  readonly #options: ConnectionOptions;
  readonly #openedAt = performance.now();
  #hasHeard = false;
  #lastWord: VeripyError | undefined;
  /** Pinging starts when the server has shown that it knows more than the plain protocol. */
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

  /** What was sent still leaves. The process need not stay for the server's goodbye, which is a round trip away. */
  close(): void {
    this.channel.close();
    if (this.channel.queuedBytes === 0) this.#peer.unref?.();
  }

  /** From now on a silent server is pinged, and given up when it does not answer. */
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
        onNews({ kind: "modunload", mod: parseAnswer(moduleReport.pick({ mod: true }), frame.json).mod });
        break;
      case "moderror:moderror":
        onNews({ kind: "moderror", ...parseNewsOfError(frame.json) });
        break;
      case "sys:drain":
        onNews({ kind: "drain" });
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
      // Anything else is a late answer, or of a protocol newer than this client: not for us.
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
        "The server closed the connection without an answer: it may not trust this client's key, or the key's entry " +
          "may have expired or not allow this address; the server's log says why. If the key is new to it, type on " +
          `the server: veripy-server trust ${this.#options.fingerprint}`,
        { cause: reason },
      );
    }
    return new VeripyError(
      "unreachable",
      "The connection was closed before the server had answered: the network seems to lose packets. Try again.",
      { cause: reason },
    );
  }

  /**
   * In TLS 1.3 a server checks the client's key last, when the handshake is over for the client. It refuses a key a
   * round trip later. Where the client's last message was lost, it closes too, but only at its own deadline.
   */
  get #refusalMs(): number {
    return Math.max(2_000, 2 * (this.#peer.connectMs ?? 0));
  }
}

/** The other end, or something that speaks for it, has closed the connection; it did not break on this side. */
function isClose(reason: CloseReason): boolean {
  return reason === undefined || isSystemError(reason.cause, "ECONNRESET", "EPIPE");
}

function parseNewsOfError(json: string): { mod: string; error: string } {
  const parsed = moduleError.safeParse(safeJson(json));
  if (!parsed.success) throw new VeripyError("protocol_error", "a moderror has no module or no error");
  return parsed.data;
}

function lastWordOf(json: string): VeripyError {
  const parsed = errorAnswer.safeParse(safeJson(json));
  if (!parsed.success)
    return new VeripyError("protocol_error", "The server ended with an error it did not explain.");
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
