import { loggerOf } from "../../base/log.ts";
import type { RequestRecord, ServerObserver } from "./observer.ts";

const log = loggerOf("session");

/**
 * A line for each call, for `--log-calls`. There is no limit on their number, unlike on other lines that clients cause:
 * it is off unless the operator asks for every call.
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
