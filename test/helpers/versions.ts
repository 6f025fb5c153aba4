import { readdirSync } from "node:fs";
import { type Limits, withDefaultLimits } from "../../src/base/limits.ts";
import type { Call, CallOutcome, CallRequest, CallSink } from "../../src/host/call.ts";
import type { HostOptions } from "../../src/host/parent/module-host.ts";
import { type HostedVersion, loadVersion } from "../../src/modules/hosted-version.ts";
import type { ModuleSource } from "../../src/source/module-source.ts";
import { readModuleSource } from "../../src/source/read-source.ts";
import { ModsDir } from "./mods-dir.ts";
import { hasProcfs, isLive } from "./procfs.ts";
import { eventually, within } from "./within.ts";

export const client = { fingerprint: "ab".repeat(32), name: "tester" };

/** Short times, so that tests of their ends are quick. */
const testLimits: Partial<Limits> = { execMs: 5_000, killGraceMs: 150, loadMs: 5_000 };

/**
 * The source of a module, read from real files that have been deleted when it is returned, so that loading it cannot
 * read the disk. The module is `m.ts`, or the first of several files.
 */
export async function sourceOf(files: string | Record<string, string>): Promise<ModuleSource> {
  const all = typeof files === "string" ? { "m.ts": files } : files;
  const [mod] = Object.keys(all);
  if (mod === undefined) throw new Error("No file was given.");
  await using mods = await ModsDir.create(all);
  return await readModuleSource(mods.path, mod, withDefaultLimits());
}

export interface LoadOptions {
  readonly limits?: Partial<Limits>;
  readonly hosts?: Partial<HostOptions>;
}

/** Loads a version for one test; `await using` stops it. */
export async function load(
  files: string | Record<string, string> | ModuleSource,
  options: LoadOptions = {},
): Promise<LoadedVersion> {
  const source =
    typeof files === "object" && "entry" in files
      ? (files as ModuleSource)
      : await sourceOf(files as string | Record<string, string>);
  const limits = withDefaultLimits({ ...testLimits, ...options.limits });
  return new LoadedVersion(await loadVersion(source, { limits, hosts: options.hosts }));
}

/** A call in flight, with everything that its sink was given. */
export class RecordedCall implements CallSink {
  readonly parts: string[] = [];
  readonly progressReports: unknown[] = [];
  readonly ended: Promise<CallOutcome>;
  outcome: CallOutcome | undefined;
  /** What `part` returns; false makes this a slow reader. */
  reads = true;
  call: Call | undefined;
  onProgress: (() => void) | undefined;
  readonly #end: (outcome: CallOutcome) => void;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<CallOutcome>();
    this.ended = promise;
    this.#end = resolve;
  }

  part(dataJson: string): boolean {
    if (this.outcome !== undefined) throw new Error("A part came after the end.");
    this.parts.push(JSON.parse(dataJson) as string);
    return this.reads;
  }

  progress(json: string): void {
    if (this.outcome !== undefined) throw new Error("A progress report came after the end.");
    this.progressReports.push(JSON.parse(json));
    this.onProgress?.();
  }

  done(outcome: CallOutcome): void {
    if (this.outcome !== undefined) throw new Error("The call ended twice.");
    this.outcome = outcome;
    this.#end(outcome);
  }
}

export class LoadedVersion implements AsyncDisposable {
  readonly version: HostedVersion;

  constructor(version: HostedVersion) {
    this.version = version;
  }

  begin(args = "", request: Partial<CallRequest> = {}): RecordedCall {
    const recorded = new RecordedCall();
    recorded.call = this.version.call(
      { argsJson: JSON.stringify(args), timeoutMs: 5_000, client, ref: "r1", ...request },
      recorded,
    );
    return recorded;
  }

  /** The outcome of one call. */
  call(args = "", request: Partial<CallRequest> = {}): Promise<CallOutcome> {
    return within(8_000, "the end of a call", this.begin(args, request).ended);
  }

  /** The result of a call that is expected to succeed. */
  async result(args = "", request: Partial<CallRequest> = {}): Promise<string> {
    const outcome = await this.call(args, request);
    if (!outcome.ok) throw new Error(`${outcome.code}: ${outcome.message}`);
    return JSON.parse(outcome.resultJson) as string;
  }

  /** `code: message` of a call that is expected to fail. */
  async failure(args = "", request: Partial<CallRequest> = {}): Promise<string> {
    const outcome = await this.call(args, request);
    if (outcome.ok) throw new Error(`It succeeded with ${outcome.resultJson}.`);
    return `${outcome.code}: ${outcome.message}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await within(8_000, "the stop of a version", this.version.stop());
  }
}

/** True while the process exists. On Linux, a zombie does not count. */
export function isAlive(pid: number): boolean {
  if (hasProcfs) return isLive(pid);
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

export async function gone(pid: number, what: string, ms = 3_000): Promise<void> {
  await eventually(`the end of ${what} (process ${pid})`, () => !isAlive(pid), ms);
}

/** The number of descriptors that this process has open (Linux). */
export function openDescriptors(): number {
  return readdirSync("/proc/self/fd").length;
}
