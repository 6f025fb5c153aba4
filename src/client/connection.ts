import { type Deadline, deadlines } from "../base/deadlines.ts";
import { VeripyError } from "../base/errors.ts";
import type { Limits } from "../base/limits.ts";
import { Channel } from "../protocol/channel.ts";
import type { CloseReason } from "../protocol/duplex.ts";
import type { Frame } from "../protocol/frame.ts";
import {
  errorAnswer,
  type ModuleReport,
  moduleError,
  moduleReport,
  parseAnswer,
} from "../protocol/messages.ts";
import type { Peer } from "../tls/peer.ts";
import type { ServerKeyNews } from "./server-key.ts";

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
  onNews(news: WireNews): void;
  /** The server announces its next key, in a payload that nobody has checked. */
  onRotation(announcement: unknown): void;
  onClosed(reason: VeripyError): void;
}

const pingEveryMs = 20_000;
const pongWithinMs = 10_000;

/** One authenticated connection to a server: its channel, its broadcasts, its life signs. */
export class Connection {
  readonly channel: Channel;
  readonly #options: ConnectionOptions;
  #framesSeen = 0;
  #framesAtLastCheck = 0;
  #lastWord: VeripyError | undefined;
  /** Pinging starts when the server has shown that it knows more than the plain protocol. */
  #pinging: Deadline | undefined;

  constructor(peer: Peer, options: ConnectionOptions) {
    this.#options = options;
    this.channel = new Channel(peer.duplex, {
      maxLineBytes: options.limits.maxAnswerLineBytes,
      onFrame: (frame) => this.#frame(frame),
      onReceived: () => {
        this.#framesSeen += 1;
      },
      explain: (reason) => this.#explain(reason),
      onClosed: (reason) => this.#closed(reason),
    });
  }

  close(): void {
    this.channel.close();
  }

  /** From now on a silent server is pinged, and given up when it does not answer. */
  startPinging(): void {
    this.#pinging ??= deadlines.arm(this, pingEveryMs);
  }

  /** The ping's turn. */
  expire(): void {
    if (this.channel.isClosed) return;
    if (this.#framesSeen === this.#framesAtLastCheck) {
      this.channel.request("sys", "ping", "{}", { timeoutMs: pongWithinMs }).catch((error: VeripyError) => {
        if (error.code !== "timeout") return;
        this.channel.abort(
          new VeripyError("unreachable", `The server has not answered a ping for ${pongWithinMs} ms.`),
        );
      });
    }
    this.#framesAtLastCheck = this.#framesSeen;
    this.#pinging = deadlines.arm(this, pingEveryMs);
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
    this.#pinging?.disarm();
    const ours = new VeripyError("closed", "The connection was closed by this client.");
    this.#options.onClosed(reason ?? ours);
  }

  #explain(reason: CloseReason): VeripyError {
    if (this.#lastWord !== undefined) return this.#lastWord;
    if (this.#framesSeen === 0) {
      return new VeripyError(
        "untrusted",
        "The server closed the connection without an answer: it does not seem to trust this client's key. " +
          `On the server, type: veripy-server trust ${this.#options.fingerprint}`,
        { cause: reason },
      );
    }
    return reason ?? new VeripyError("unreachable", "The server closed the connection.");
  }
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
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
