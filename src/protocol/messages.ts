import { z } from "zod";
import { VeripyError, type WireCode, wireCodes } from "../base/errors.ts";
import { isDeeperThan } from "../base/json-depth.ts";
import { plainWords } from "../base/plain-issue.ts";
import { camelKeys } from "../base/snake-case.ts";

/** The protocol's version, as `sys:info` reports it. */
export const protocolVersion = 1;

// Schemas of all payloads on the wire. Unknown fields are ignored, so that old clients work with new servers and the other
// way round.

const sum = z.string().regex(/^[0-9a-f]{64}$/, "must be 64 lowercase hexadecimal digits");
/** A module's name: a file name, not a path. */
const moduleName = z.string().min(1).max(255);
/** A path below `mods/`, with forward slashes, that does not lead out of it. */
const treePath = z
  .string()
  .min(1)
  .max(1024)
  .refine((path) => !path.startsWith("/") && !path.split("/").includes(".."), "must be a path below mods/");

/**
 * What a module may touch, as a server says it: kinds by name, or `"all"`. It is only shown, or compared with what the
 * client reads in the source, so that a kind that this version does not know is no broken message.
 */
const reportedPermissions = z.union([
  z.literal("all"),
  z.record(z.string().max(64), z.array(z.union([z.string(), z.number()])).readonly()),
]);
export type ReportedPermissions = z.infer<typeof reportedPermissions>;

/** What a server says of a module besides its sums. Plain servers leave out all but `desc`. */
const description = {
  desc: z.string().nullish(),
  input: z.record(z.string(), z.unknown()).optional(),
  permissions: reportedPermissions.optional(),
  described_by: z.enum(["source", "server"]).optional(),
};

/** `described_by` on the wire, `describedBy` here. */
function withCamelKeys<T extends { described_by?: "source" | "server" | undefined }>({
  described_by: describedBy,
  ...rest
}: T): Omit<T, "described_by"> & { describedBy?: "source" | "server" | undefined } {
  return describedBy === undefined ? rest : { ...rest, describedBy };
}

/** Identifies and describes a version of a module, in the answer to a sync and in the broadcasts about modules. */
export const moduleReport = z
  .object({ mod: moduleName, sum, tree: sum.optional(), ...description })
  .transform(withCamelKeys);
export type ModuleReport = z.infer<typeof moduleReport>;
/** What counts in `modunload`. */
export const removedModule = z.object({ mod: moduleName });

/** A client keeps at most this many reports, which is more than any server has. */
export const maxReports = 100_000;

/** Says which catalogue a server has: its serial, and the SHA-256 of its text. Also the payload of the broadcast `sys:catalogue`. */
export const catalogueReport = z.object({ serial: z.number().int().positive(), sum });
export type CatalogueReport = z.infer<typeof catalogueReport>;

/** The answer to `sys:catalogue`: the texts of `veripy.catalogue` and `veripy.catalogue.sig`. */
export const catalogueResponse = z.object({ catalogue: z.string(), signature: z.string() });
export type CatalogueResponse = z.infer<typeof catalogueResponse>;

export const syncRequest = z.object({});
/** For messages without fields: `sys:ping`, `sys:info`, `mod:stats`, `mod:cancel`, and the answer `sys:pong`. */
export const emptyPayload = z.object({});
export const syncResponse = z.object({
  modules: z.array(moduleReport).max(maxReports),
  /** While the server is rotating its key: the same statement as in `sys:rotate`, see `identity/rotation-statement.ts`. */
  rotation: z.unknown().optional(),
  /** For clients that may sync everything, when the server has a catalogue. */
  catalogue: catalogueReport.optional(),
});
export type SyncResponse = z.infer<typeof syncResponse>;

export const verifyRequest = z.object({ mod: moduleName });
export const sourceFile = z.object({ path: treePath, content: z.string(), sum });
export type SourceFile = z.infer<typeof sourceFile>;
export const verifyResponse = z
  .object({
    mod: moduleName,
    content: z.string(),
    sum,
    tree: sum.optional(),
    files: z.array(sourceFile).max(10_000).optional(),
    ...description,
  })
  .transform(withCamelKeys);
export type VerifyResponse = z.infer<typeof verifyResponse>;

export const execRequest = z.object({
  mod: moduleName,
  args: z.string(),
  tree: sum.optional(),
  timeout_ms: z.number().int().positive().optional(),
});
export type ExecRequest = z.infer<typeof execRequest>;
/** One string that a streaming module yielded. */
export const execPart = z.object({ seq: z.number().int().nonnegative(), data: z.string() });
/** A module's progress, `mod:exec_progress`. A server may leave it out, and a client may ignore it. */
export const execProgress = z.object({
  fraction: z.number().min(0).max(1).optional(),
  message: z.string().optional(),
});
export type ExecProgress = z.infer<typeof execProgress>;
export const execResponse = z.object({
  mod: moduleName,
  result: z.string(),
  sum,
  tree: sum.optional(),
});
export type ExecResponse = z.infer<typeof execResponse>;

/** The statistics of a version; see `VersionStats` in `modules/module-version.ts` for the meanings. */
export const moduleStats = z
  .object({
    mod: moduleName,
    tree: sum,
    current: z.boolean(),
    state: z.string(),
    pid: z.number().int().optional(),
    memory_bytes: z.number().optional(),
    calls: z.number(),
    failures: z.number(),
    restarts: z.number(),
    in_flight: z.number(),
    p50_ms: z.number().optional(),
    p99_ms: z.number().optional(),
  })
  .transform((stats) => camelKeys(stats));
export type ModuleStats = z.infer<typeof moduleStats>;
/**
 * Whether the server holds modules to their permissions: as it was told (`best-effort`, `enforce`, `off`), whether its
 * system enforces all of them, and its Landlock ABI, 0 without one.
 */
export const sandboxStatus = z.object({
  mode: z.string(),
  enforced: z.boolean(),
  abi: z.number().int().nonnegative(),
});
export type SandboxStatus = z.infer<typeof sandboxStatus>;

export const statsResponse = z.object({
  modules: z.array(moduleStats).max(maxReports),
  sandbox: sandboxStatus.optional(),
});
export type StatsResponse = z.infer<typeof statsResponse>;

export const moduleError = z.object({ mod: moduleName, error: z.string() });
export const infoResponse = z.object({
  server: z.string(),
  protocol: z.number().int(),
  /** Older servers leave it out. */
  sandbox: sandboxStatus.optional(),
  /** `max_line_bytes` on the wire, `maxLineBytes` here, as in `Limits`. */
  limits: z.record(z.string(), z.number()).transform((limits) => camelKeys(limits)),
});
export type InfoResponse = z.infer<typeof infoResponse>;

/**
 * `sys:rotate`: a client's request or a server's broadcast, which announces the sender's next key. The payload is a signed
 * statement, which `identity/rotation-statement.ts` checks.
 */
export const rotateRequest = z.record(z.string(), z.unknown());
export const rotateResponse = z.object({ next: sum });

/** `sys:join`: redeems an invitation. Accepted only over a connection that was opened with `joinProtocol`. */
export const joinRequest = z.object({ id: z.string().max(16), proof: z.string().max(64) });
export const joinResponse = z.object({
  proof: z.string().max(64),
  name: z.string().max(64).nullish(),
  /** The key was already trusted, as `name`; nothing was changed, and the code was not spent. */
  already_trusted: z.boolean().optional(),
});
/** The ALPN name (RFC 7301) with which a client whose key is not trusted yet asks to join. */
export const joinProtocol = "veripy-join";

/** The payload of an answer that reports an error. A plain server may leave the code out. */
export const errorAnswer = z.object({
  error: z.string(),
  code: z.enum(wireCodes).catch("bad_request"),
  /** False for a call that has certainly not run. Older servers leave it out, so its absence says nothing. */
  started: z.literal(false).optional().catch(undefined),
});

/**
 * Parses a request's payload by a schema. Throws `bad_request`, which names the JSON path of each fault. For answers use
 * `parseAnswer`.
 */
export function parsePayload<T>(schema: z.ZodType<T>, json: string): T {
  const value = parseJson(json, "bad_request", "payload");
  const parsed = schema.safeParse(value, plainWords);
  if (parsed.success) return parsed.data;
  throw new VeripyError("bad_request", describeIssues(parsed.error));
}

/** Parses an answer's payload. Throws an error that the answer reports with its code, and `protocol_error` for another form. */
export function parseAnswer<T>(schema: z.ZodType<T>, json: string): T {
  const value = parseJson(json, "protocol_error", "answer");
  if (typeof value === "object" && value !== null && "error" in value) {
    const failure = errorAnswer.safeParse(value);
    if (failure.success) {
      const { code, error, started } = failure.data;
      throw new VeripyError(code, error, { started });
    }
  }
  const parsed = schema.safeParse(value, plainWords);
  if (parsed.success) return parsed.data;
  throw new VeripyError("protocol_error", `The answer has the wrong shape: ${describeIssues(parsed.error)}`);
}

/** How deep arrays and objects may nest in a payload. The deepest payload is a module's JSON Schema in the answer to a sync. */
export const maxPayloadDepth = 128;

function parseJson(json: string, code: "bad_request" | "protocol_error", what: string): unknown {
  if (isDeeperThan(json, maxPayloadDepth))
    throw new VeripyError(code, `The ${what} nests deeper than ${maxPayloadDepth} levels, the limit.`);
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new VeripyError(code, `The ${what} is not JSON: it begins with '${json.slice(0, 40)}'.`, {
      cause: error,
    });
  }
}

/** `modules[3].sum: must be …`: one clause for each fault, at most three. */
export function describeIssues(error: z.ZodError): string {
  const clauses = error.issues.slice(0, 3).map((issue) => `${pathOf(issue.path)}: ${issue.message}`);
  return `${clauses.join("; ")}.`;
}

function pathOf(path: readonly PropertyKey[]): string {
  if (path.length === 0) return "the payload";
  return path
    .map((key, index) => (typeof key === "number" ? `[${key}]` : `${index > 0 ? "." : ""}${String(key)}`))
    .join("");
}

/** Encodes an `errorAnswer`. `started` is false for a call that has certainly not run. */
export function errorPayload(code: WireCode, message: string, started?: false): string {
  return JSON.stringify({ error: message, code, started });
}
