import { loggerOf } from "../../base/log.ts";
import type { ModuleChange } from "../../modules/module-slot.ts";
import type { CatalogueChange, ServerObserver, TrustChange, TrustEdit } from "./observer.ts";

const log = loggerOf("server");
const trustLog = loggerOf("trust");

/** A log line for each change of the modules and of the trusted keys. Trusted clients and the operator cause them. */
export class ChangeLog implements ServerObserver {
  moduleChanged(change: ModuleChange): void {
    if (change.kind === "moderror") {
      log.error("{mod} cannot be loaded: {error}", { mod: change.mod, error: change.detail });
      return;
    }
    const { mod, tree } = change.report;
    log.info("{what}: {mod} {tree}", { what: change.kind, mod, tree });
  }

  trustChanged(change: TrustChange): void {
    if ("error" in change) log.error("Kept the last good trusted keys: {error}", { error: change.error });
    else log.info("Trusted keys changed: {count} now.", { count: change.keys });
  }

  catalogueChanged(change: CatalogueChange): void {
    if ("error" in change) {
      log.error("Catalogue: {error}", { error: change.error });
      return;
    }
    const { name, serial, principal, sum } = change;
    const by = principal === undefined ? "signature not checked" : `signed by ${principal}`;
    log.info("Catalogue {name}, serial {serial}, {by}.", { name, serial, by, sum });
  }

  trustEdited(edit: TrustEdit): void {
    const { fingerprint, name, address } = edit.peer;
    const who = name ?? fingerprint;
    switch (edit.kind) {
      case "joined":
        trustLog.info("Joined: {who} from {address}, by invitation.", { who, address, fingerprint });
        break;
      case "key_announced":
        trustLog.info("{who} is rotating its key: {next} is now also trusted.", { who, next: edit.next });
        break;
      case "key_confirmed":
        trustLog.info("{who} has switched to the key {fingerprint}; its old key is no longer trusted.", {
          who,
          fingerprint,
        });
    }
  }
}
