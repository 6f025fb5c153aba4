import { snakeKeys } from "../base/snake-case.ts";
import type { Frame } from "../protocol/frame.ts";
import {
  emptyPayload,
  parsePayload,
  type SandboxStatus,
  syncRequest,
  verifyRequest,
} from "../protocol/messages.ts";
import { VersionText } from "./encoded-version.ts";
import type { ModuleAccess } from "./module-access.ts";

/** The payload of an answer, and which version of which module it is about. */
export interface StateAnswer {
  readonly json: string;
  readonly mod?: string;
  readonly tree?: string;
}

// Requests about the modules' state, answered at once. Each throws `bad_request`, `forbidden` or `not_found`.

/** `{}` → `{"modules":[report],"rotation"?}`. `announcement` returns what the client is told of the server's next key. */
export function answerSync(
  access: ModuleAccess,
  { json }: Frame,
  announcement: () => object | undefined,
): StateAnswer {
  parsePayload(syncRequest, json);
  access.authorize("sync");
  const reports = access.visible().map((version) => VersionText.of(version).report);
  const rotation = announcement();
  const more = rotation === undefined ? "" : `,"rotation":${JSON.stringify(rotation)}`;
  return { json: `{"modules":[${reports.join(",")}]${more}}` };
}

/** `{"mod"}` → the report of the current version with the texts of its files. */
export function answerVerify(access: ModuleAccess, { json }: Frame): StateAnswer {
  const { mod } = parsePayload(verifyRequest, json);
  access.authorize("verify", mod);
  const version = access.find(mod);
  return { json: VersionText.of(version).verify, mod, tree: version.tree };
}

/** `{}` → `{"modules":[stats],"sandbox"}`. */
export function answerStats(access: ModuleAccess, frame: Frame, sandbox: SandboxStatus): StateAnswer {
  mustBeEmpty(frame);
  access.authorize("sync");
  return { json: JSON.stringify({ modules: access.stats().map((stats) => snakeKeys(stats)), sandbox }) };
}

/** For a request without fields. Its payload is nearly always `{}`, which needs no parsing. Throws `bad_request`. */
export function mustBeEmpty({ json }: Frame): void {
  if (json !== "{}") parsePayload(emptyPayload, json);
}
