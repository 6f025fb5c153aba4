import { loggerOf } from "../../base/log.ts";
import type { RequestRecord, ServerObserver } from "./observer.ts";

const log = loggerOf("session");

/**
 * A log line for each call, for `--log-calls`. Unlike other lines that clients cause, these are not rate-limited: the
 * operator asked for every call.
 */
export class CallLog implements ServerObserver {
  answered({ peer, action, ref, mod, tree, code, durationMs }: RequestRecord): void {
    if (action !== "exec") return;
    log.info("{who} called {mod} {version}: {code} in {ms} ms", {
      who: peer.name ?? peer.fingerprint,
      mod: mod ?? "-",
      version: tree?.slice(0, 16) ?? "-",
      tree,
      code,
      ms: Math.round(durationMs * 10) / 10,
      address: peer.address,
      ref,
    });
  }
}
