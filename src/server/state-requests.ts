import { snakeKeys } from "../base/snake-case.ts";
import type { Frame } from "../protocol/frame.ts";
import {
  type CatalogueReport,
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

/**
 * `{}` → `{"modules":[report],"rotation"?,"catalogue"?}`. `news` returns what the client is told of the server's next key, and
 * of its catalogue.
 */
export function answerSync(
  access: ModuleAccess,
  { json }: Frame,
  news: () => { readonly rotation: object | undefined; readonly catalogue: CatalogueReport | undefined },
): StateAnswer {
  parsePayload(syncRequest, json);
  access.authorize("sync");
  const reports = access.visible().map((version) => VersionText.of(version).report);
  const more = Object.entries(news()).flatMap(([name, value]) =>
    value === undefined ? [] : `,${JSON.stringify(name)}:${JSON.stringify(value)}`,
  );
  return { json: `{"modules":[${reports.join(",")}]${more.join("")}}` };
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
