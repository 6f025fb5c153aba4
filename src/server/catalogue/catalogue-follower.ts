import { messageOf } from "../../base/errors.ts";
import { isSettled, stampOf } from "../../base/file-stamp.ts";
import { TimeSlice } from "../../base/time-slice.ts";
import type { ModuleRegistry } from "../../modules/registry.ts";
import type { CatalogueChange } from "../observers/observer.ts";
import type { CataloguePlaces } from "./catalogue-files.ts";
import type { CatalogueSource } from "./catalogue-source.ts";
import { type HeldCatalogue, lists, type ServedCatalogue } from "./served-catalogue.ts";
import { sumOfListed } from "./served-files.ts";

export interface FollowerOptions {
  readonly source: CatalogueSource;
  readonly served: ServedCatalogue;
  readonly places: CataloguePlaces;
  /** Called for a catalogue that is in use from now on, and once for each different reason why one is not. */
  onChange(change: CatalogueChange): void;
}

const pollMs = 200;
/** A file that is written in place is incomplete for a moment, and one of two is new for a moment. */
const secondLookMs = 100;
/** How long a new catalogue waits for the files that it lists, and for their modules to load. */
const maxWaitMs = 5_000;
/** Files are read synchronously; after this long, calls get their turn. */
const sliceMs = 2;
const fileLookMs = 50;
/** A catalogue that was issued in the future is accepted some time. */
const retryMs = 10_000;

/**
 * Keeps the catalogue of a server up to date with its files. A new one is checked first; then it waits until the files that it
 * lists are on the disk, and their modules have loaded; then it is taken up at one moment.
 */
export class CatalogueFollower {
  readonly #options: FollowerOptions;
  readonly #stopped = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #work: Promise<void> = Promise.resolve();
  #signersMark: string | undefined;
  #read = { mark: "", atMs: 0, isSure: false };
  readonly #slice = new TimeSlice(sliceMs);
  #suspected: string | undefined;
  /** The reason why there is no newer catalogue, as it was told. */
  #refusal: string | undefined;
  #trouble: string | undefined;

  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  /** Why the server is not ready; undefined when it is. */
  get problem(): string | undefined {
    const { served, source } = this.#options;
    if (!served.isEnforced) return undefined;
    if (served.current === undefined)
      return `no catalogue is accepted: ${this.#refusal ?? "none was read yet"}`;
    return source.troubleWith(served.current);
  }

  /** The first reading, before anything is loaded. Throws `bad_config` for a signers' file with a mistake. */
  async begin(): Promise<void> {
    const { source, served } = this.#options;
    this.#signersMark = this.#markOfSigners();
    await source.readSigners();
    try {
      const held = await source.read(undefined);
      if (held !== undefined) served.use(held);
    } catch (error) {
      this.#refusal = messageOf(error);
    }
  }

  /** Says what the first reading has found, and follows the files from then on. */
  follow(registry: ModuleRegistry, taken: () => Promise<void>): void {
    const { served } = this.#options;
    if (served.current !== undefined) this.#tell(served.current);
    else if (this.#refusal !== undefined) this.#options.onChange({ error: this.#refusal });
    const next = (ms: number) => {
      this.#timer = setTimeout(() => {
        this.#work = this.#look(registry, taken).then((again) => {
          if (!this.#stopped.signal.aborted) next(again);
        });
      }, ms);
      this.#timer.unref();
    };
    next(pollMs);
  }

  /** Idempotent. Resolves when no catalogue is being taken up. */
  async close(): Promise<void> {
    this.#stopped.abort();
    clearTimeout(this.#timer);
    await this.#work;
  }

  /** Resolves with the milliseconds until the next look. Never rejects. */
  async #look(registry: ModuleRegistry, taken: () => Promise<void>): Promise<number> {
    const { source, served } = this.#options;
    try {
      if (!this.#mustRead()) {
        this.#lookAtCurrent();
        return pollMs;
      }
      await this.#lookAtSigners();
      const held = await source.read(served.current);
      this.#suspected = this.#refusal = undefined;
      if (held !== undefined) await this.#takeUp(held, registry, taken);
    } catch (error) {
      const reason = messageOf(error);
      if (reason !== this.#refusal) {
        if (reason !== this.#suspected) {
          this.#suspected = reason;
          return secondLookMs;
        }
        this.#refusal = reason;
        this.#options.onChange({ error: reason });
      }
    }
    this.#lookAtCurrent();
    return pollMs;
  }

  /** Whether a file has changed since the last reading, or time may have made a difference. */
  #mustRead(): boolean {
    const nowMs = Date.now();
    const { path, signersPath } = this.#options.source;
    const paths = [path, `${path}.sig`, ...(signersPath === undefined ? [] : [signersPath])];
    const stamps = paths.map((one) => stampOf(one));
    const mark = stamps.map((stamp) => stamp.mark).join(" ");
    const { mark: before, atMs, isSure } = this.#read;
    const isDue = this.#refusal !== undefined && Math.abs(nowMs - atMs) >= retryMs;
    if (mark === before && isSure && this.#suspected === undefined && !isDue) return false;
    this.#read = { mark, atMs: nowMs, isSure: stamps.every((stamp) => isSettled(stamp, nowMs)) };
    return true;
  }

  async #lookAtSigners(): Promise<void> {
    const mark = this.#markOfSigners();
    if (mark === this.#signersMark) return;
    await this.#options.source.readSigners();
    this.#signersMark = mark;
  }

  #markOfSigners(): string {
    const { signersPath } = this.#options.source;
    return signersPath === undefined ? "" : stampOf(signersPath).mark;
  }

  /** Says once that the catalogue in use would no longer be accepted. */
  #lookAtCurrent(): void {
    const { served, source } = this.#options;
    const trouble = served.current && source.troubleWith(served.current);
    if (trouble !== undefined && trouble !== this.#trouble) this.#options.onChange({ error: trouble });
    this.#trouble = trouble;
  }

  async #takeUp(held: HeldCatalogue, registry: ModuleRegistry, taken: () => Promise<void>): Promise<void> {
    const { served } = this.#options;
    if (served.isEnforced) {
      served.expect(held);
      const late = AbortSignal.any([AbortSignal.timeout(maxWaitMs), this.#stopped.signal]);
      const isLate = new Promise<void>((resolve) =>
        late.addEventListener("abort", () => resolve(), { once: true }),
      );
      await Promise.race([this.#prepare(held, registry, late), isLate]);
      if (this.#stopped.signal.aborted) return;
    }
    served.use(held);
    // Told before the modules are: clients that see a new version can have the catalogue that lists it.
    this.#tell(held);
    await Promise.all([registry.readmit(), taken()]);
  }

  async #prepare(held: HeldCatalogue, registry: ModuleRegistry, late: AbortSignal): Promise<void> {
    let missing = [...held.catalogue.files];
    while (missing.length > 0 && !late.aborted) {
      const still: typeof missing = [];
      for (const [path, sum] of missing) {
        if (this.#slice.isOver) await this.#slice.pause();
        if ((await sumOfListed(path, this.#options.places)) !== sum) still.push([path, sum]);
      }
      missing = still;
      if (missing.length > 0) await Bun.sleep(fileLookMs);
    }
    if (!late.aborted) await registry.prepare((source) => lists(held, source), late);
  }

  #tell({ catalogue, principal }: HeldCatalogue): void {
    const { name, serial, issued } = catalogue;
    const sum = this.#options.served.report?.sum ?? "";
    this.#options.onChange({ name, serial, issued, sum, ...(principal === undefined ? {} : { principal }) });
  }
}
