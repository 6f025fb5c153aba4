import { type FSWatcher, watch } from "node:fs";
import { stat } from "node:fs/promises";
import { isSystemError, messageOf } from "../base/errors.ts";
import { loggerOf } from "../base/log.ts";

/** How `mods/` is polled. */
export interface WatchTiming {
  /** How often everything is compared with the disk and a lost watch is replaced. */
  pollMs: number;
  /** How long `pollSoon` takes. */
  soonMs: number;
}

export const defaultWatchTiming: Readonly<WatchTiming> = { pollMs: 1_000, soonMs: 50 };

/** Paths below `mods/`, with forward slashes, that may have changed, or `"anything"` if that is unknown. */
export type ChangeHint = ReadonlySet<string> | "anything";

/** Opens a watch on a directory and everything below it: `watch` of `node:fs`, or a replacement in tests. */
export type OpenWatch = (
  path: string,
  options: { recursive: true },
  listener: (event: string, path: string | null) => void,
) => FSWatcher;

const log = loggerOf("module");

/**
 * Reports that something may have changed in a directory or below it. This is only a hint: events get lost, and when
 * the directory is replaced or its link is swapped, the watch stays on the old one. So everything is also polled;
 * where the system refuses a watch, polling is all there is.
 */
export class ModsWatcher {
  readonly #modsDir: string;
  readonly #changed: (hint: ChangeHint) => void;
  readonly #timing: WatchTiming;
  readonly #openWatch: OpenWatch;
  #watch: FSWatcher | undefined;
  /** Which directory is watched, see `identityOf`. */
  #watched: string | undefined;
  #refusal: string | undefined;
  #pending = new Set<string>();
  #anything = false;
  #report: ReturnType<typeof setImmediate> | undefined;
  #poll: ReturnType<typeof setTimeout> | undefined;
  #pollAtMs = Number.POSITIVE_INFINITY;
  #restsUntilMs = 0;
  #closed = false;

  /** `changed` must not throw. It is called from the first event or poll on, and not after `close`. */
  constructor(
    modsDir: string,
    changed: (hint: ChangeHint) => void,
    timing: Readonly<WatchTiming> = defaultWatchTiming,
    openWatch: OpenWatch = watch,
  ) {
    this.#modsDir = modsDir;
    this.#changed = changed;
    this.#timing = timing;
    this.#openWatch = openWatch;
  }

  /** Resolves when the watch is open or was refused. Changes from then on are reported. */
  async start(): Promise<void> {
    await this.#ensureWatch();
    this.#schedulePoll(this.#timing.pollMs);
  }

  /** Reports `"anything"` in a moment. For a change whose meaning only a full comparison can tell. */
  pollSoon(): void {
    this.#restsUntilMs = 0;
    this.#schedulePoll(this.#timing.soonMs);
  }

  /**
   * Polls report nothing for this long, because comparing everything takes too much time. As before, they notice a new
   * directory, and report everything while nothing is watched. `pollSoon` ends it.
   */
  rest(ms: number): void {
    this.#restsUntilMs = performance.now() + ms;
  }

  close(): void {
    this.#closed = true;
    clearImmediate(this.#report);
    clearTimeout(this.#poll);
    this.#unwatch();
  }

  /** Keeps a poll that is due sooner. */
  #schedulePoll(ms: number): void {
    const atMs = performance.now() + ms;
    if (this.#closed || this.#pollAtMs <= atMs) return;
    clearTimeout(this.#poll);
    this.#pollAtMs = atMs;
    this.#poll = setTimeout(async () => {
      this.#pollAtMs = Number.POSITIVE_INFINITY;
      const isNew = await this.#ensureWatch();
      const mayRest = this.#watch !== undefined && !isNew && performance.now() < this.#restsUntilMs;
      if (!this.#closed && !mayRest) this.#changed("anything");
      this.#schedulePoll(this.#timing.pollMs);
    }, ms);
  }

  /** Watches the directory that is at the path now, unless it is watched already. Returns whether the watch is new. */
  async #ensureWatch(): Promise<boolean> {
    const identity = await identityOf(this.#modsDir);
    if (this.#closed || (this.#watch !== undefined && identity === this.#watched)) return false;
    this.#unwatch();
    if (identity === undefined) return false;
    try {
      const fresh = this.#openWatch(this.#modsDir, { recursive: true }, (_event, path) => this.#note(path));
      fresh.on("error", (error) => this.#lost(fresh, error));
      this.#watch = fresh;
      this.#watched = identity;
      this.#refusal = undefined;
      return true;
    } catch (error) {
      this.#refused(error);
      return false;
    }
  }

  #unwatch(): void {
    this.#watch?.close();
    this.#watch = undefined;
    this.#watched = undefined;
  }

  #lost(which: FSWatcher, error: Error): void {
    if (which !== this.#watch) return;
    this.#unwatch();
    this.#refused(error);
  }

  #refused(error: unknown): void {
    // The directory disappeared just now. The next poll tries again.
    if (isSystemError(error, "ENOENT")) return;
    const reason = messageOf(error);
    if (reason === this.#refusal) return;
    this.#refusal = reason;
    log.warn(
      "Cannot watch {modsDir}: {reason}. Polling it every {pollMs} ms instead. On Linux, raise fs.inotify.max_user_watches or fs.inotify.max_user_instances.",
      { modsDir: this.#modsDir, reason, pollMs: this.#timing.pollMs },
    );
  }

  #note(path: string | null | undefined): void {
    if (this.#closed) return;
    if (typeof path === "string" && path !== "") {
      this.#pending.add(path.replaceAll("\\", "/"));
    } else {
      // The directory itself was moved or deleted. The next poll watches its successor.
      this.#anything = true;
      this.#unwatch();
    }
    // One save is two to four events at once: they become one hint.
    this.#report ??= setImmediate(() => this.#tell());
  }

  #tell(): void {
    this.#report = undefined;
    const hint: ChangeHint = this.#anything ? "anything" : this.#pending;
    this.#pending = new Set();
    this.#anything = false;
    this.#changed(hint);
    // The directory may be about to be replaced.
    if (hint === "anything") this.pollSoon();
  }
}

/** Includes the time of creation: a new directory often reuses the inode of the one just deleted. */
async function identityOf(path: string): Promise<string | undefined> {
  return stat(path, { bigint: true }).then(
    ({ dev, ino, birthtimeNs }) => `${dev}:${ino}:${birthtimeNs}`,
    () => undefined,
  );
}
