import { VeripyError } from "../base/errors.ts";
import { type Manifest, readManifest } from "../manifest/manifest.ts";
import type { ModuleLimits } from "../manifest/module-limits.ts";
import type { DeclaredPermissions } from "../manifest/permissions.ts";
import type { ModuleReport, VerifyResponse } from "../protocol/messages.ts";
import type { Mismatch } from "./mismatch.ts";

/** What a module is, beyond its bytes. */
export interface ModuleDescription {
  /** Undefined when there is none. With `describedBy` "server", this and `input` are the server's word. */
  readonly description: string | undefined;
  readonly input: Record<string, unknown> | undefined;
  readonly describedBy: "source" | "server";
  /** Always read from the source. Undefined only if a server that does not report them has a source that can't be read. */
  readonly permissions: DeclaredPermissions | undefined;
  readonly limits: ModuleLimits | undefined;
}

/** A file whose bytes have been verified. */
interface Text {
  readonly path: string;
  readonly content: string;
}

/** The fields that a server may describe a module with, as a report and an answer have them. */
type Described = Pick<ModuleReport, "desc" | "input" | "permissions" | "describedBy">;

/**
 * Reads the description from files whose bytes have been verified, and compares it with what the server said in the report
 * and in the answer. Pure. Returns the mismatches instead if there are any. A server that reports neither permissions nor
 * who described the module is taken at its word for the description, and compared with nothing.
 */
export function describeModule(
  report: ModuleReport,
  answer: VerifyResponse,
  files: readonly Text[],
): ModuleDescription | readonly Mismatch[] {
  const { mod } = report;
  const manifest = manifestOf(mod, files);
  if (!isDescribing(report) && !isDescribing(answer)) {
    const read = manifest instanceof VeripyError ? undefined : manifest;
    return {
      ...serversWord(report),
      describedBy: "server",
      permissions: read?.permissions,
      limits: read?.limits,
    };
  }
  if (manifest instanceof VeripyError) {
    const expected = "a source that declares what the server reports";
    return [{ what: `the source of ${mod}`, by: "the report", expected, actual: manifest.message }];
  }
  const mismatches = [
    ...differences(mod, manifest, report, "the report"),
    ...differences(mod, manifest, answer, "the answer"),
  ];
  if (mismatches.length > 0) return mismatches;
  const { description, input, describedBy, permissions, limits } = manifest;
  const said = describedBy === "source" ? { description, input } : serversWord(report);
  return { ...said, describedBy, permissions, limits };
}

function manifestOf(mod: string, files: readonly Text[]): Manifest | VeripyError {
  try {
    return readManifest(
      mod,
      files.map(({ path, content }) => [path, content]),
    );
  } catch (error) {
    if (error instanceof VeripyError) return error;
    throw error;
  }
}

/** Either field alone is enough: leaving out the other must not skip the comparison. */
function isDescribing({ permissions, describedBy }: Described): boolean {
  return permissions !== undefined || describedBy !== undefined;
}

function serversWord({ desc, input }: Described): Pick<ModuleDescription, "description" | "input"> {
  return { description: desc || undefined, input };
}

function differences(mod: string, manifest: Manifest, said: Described, by: Mismatch["by"]): Mismatch[] {
  const { description, input, permissions, describedBy } = manifest;
  const fields: [field: string, expected: unknown, actual: unknown][] = [
    ["permissions", said.permissions, permissions],
    ["described_by", said.describedBy, describedBy],
  ];
  // An empty description and none are the same on the wire.
  if (describedBy === "source")
    fields.unshift(["desc", said.desc || undefined, description || undefined], ["input", said.input, input]);
  return fields.flatMap(([field, expected, actual]) => {
    const values = { expected: shown(expected), actual: shown(actual) };
    return values.expected === values.actual ? [] : [{ what: `the ${field} of ${mod}`, by, ...values }];
  });
}

/** As JSON, so that only equal values are shown equally: the description "nothing" has quotes. */
function shown(value: unknown): string {
  return value === undefined ? "nothing" : JSON.stringify(value);
}
