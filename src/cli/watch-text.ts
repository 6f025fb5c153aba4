import { snakeKeys, type WatchEvent } from "../index.ts";
import { approvalJson } from "./approval-text.ts";
import { styled, type Text, text } from "./text.ts";

/** An event for `--json`. */
export function eventJson(event: Exclude<WatchEvent, { event: "verdict" }>): object {
  if ("report" in event) return { ...event, report: snakeKeys(event.report) };
  if (event.event === "unverified") {
    return {
      event: "unverified",
      cause: event.cause,
      mod: event.mod,
      error: event.error.message,
      code: event.error.code,
      retryMs: event.retryMs,
    };
  }
  if (event.event === "disconnected") {
    return {
      event: "disconnected",
      error: event.reason.message,
      code: event.reason.code,
      retryMs: event.retryMs,
    };
  }
  if (event.event === "catalogue") {
    if (!("error" in event)) return { event: "catalogue", signed: event.signature };
    return { event: "catalogue", error: event.error.message, code: event.error.code };
  }
  if (event.event === "pending") return { event: "pending", mod: event.mod, ...approvalJson(event.approval) };
  return event;
}

const connectionEvents = ["drain", "disconnected", "reconnected", "rotate", "rotate_refused"] as const;
type ConnectionEvent = Extract<WatchEvent, { event: (typeof connectionEvents)[number] }>;
export type ModuleEvent = Exclude<WatchEvent, ConnectionEvent | { event: "verdict" }>;

/** Whether an event concerns the connection, rather than a module. */
export function isOfConnection(event: WatchEvent): event is ConnectionEvent {
  return connectionEvents.some((name) => name === event.event);
}

/** What a person is told of the connection. */
export function connectionText(event: ConnectionEvent): Text {
  if (event.event === "drain") return text`The server is about to stop.`;
  if (event.event === "rotate") return text`${nextKeyText(event.fingerprint)}`;
  if (event.event === "rotate_refused") return text`${styled("red", "WARNING")} ${event.error}`;
  if (event.event === "disconnected") {
    const next = event.retryMs === undefined ? "" : ` Retrying in ${(event.retryMs / 1000).toFixed(1)} s.`;
    return text`Disconnected: ${event.reason.message}${next}`;
  }
  const changes = [
    ...event.added.map(({ mod }) => `new ${mod}`),
    ...event.changed.map(({ mod }) => `changed ${mod}`),
    ...event.removed.map((mod) => `removed ${mod}`),
  ];
  return text`Reconnected; ${changes.length === 0 ? "nothing has changed" : changes.join(", ")}.`;
}

/** The news that the server has announced its next key. */
export function nextKeyText(fingerprint: string): string {
  return `The server is rotating its key. Its new key, signed by the current one, is now also accepted: ${fingerprint}`;
}
