import { type FSWatcher, watch } from "node:fs";
import { stat } from "node:fs/promises";
import { isSystemError, messageOf } from "../base/errors.ts";
import { loggerOf } from "../base/log.ts";

/** How `mods/` is watched. */
export interface WatchTiming {
  /** A change is told when nothing more came for this long. One save is two to four events within a millisecond. */
  quietMs: number;
  /** In a storm of events, a change is told at the latest after this. */
  stormMs: number;
  /** How often everything is compared with the disk and a lost watch is replaced. */
  pollMs: number;
}

export const defaultWatchTiming: Readonly<WatchTiming> = { quietMs: 1, stormMs: 50, pollMs: 1_000 };

/** Paths below `mods/`, with forward slashes, that may have changed, or `"anything"` if that is unknown. */
export type ChangeHint = ReadonlySet<string> | "anything";

export interface WatchListener {
  /** Something has just happened at these paths. Once a turn of the event loop, before the hint that names them. */
  stirred(paths: ReadonlySet<string>): void;
  /** From the first poll on. */
  changed(hint: ChangeHint): void;
}

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
  readonly #listener: WatchListener;
  readonly #timing: WatchTiming;
  readonly #openWatch: OpenWatch;
  #watch: FSWatcher | undefined;
  /** Which directory is watched, see `identityOf`. */
  #watched: string | undefined;
  #refusal: string | undefined;
  #stirred = new Set<string>();
  #pending = new Set<string>();
  #anything = false;
  #pendingSinceMs = 0;
  #quiet: ReturnType<typeof setTimeout> | undefined;
  #poll: ReturnType<typeof setTimeout> | undefined;
  #pollAtMs = Number.POSITIVE_INFINITY;
  #closed = false;

  /** The methods of `listener` must not throw. They are not called after `close`. */
  constructor(
    modsDir: string,
    listener: WatchListener,
    timing: Readonly<WatchTiming> = defaultWatchTiming,
    openWatch: OpenWatch = watch,
  ) {
    this.#modsDir = modsDir;
    this.#listener = listener;
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
    this.#schedulePoll(this.#timing.stormMs);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#quiet);
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
      await this.#ensureWatch();
      if (!this.#closed) this.#listener.changed("anything");
      this.#schedulePoll(this.#timing.pollMs);
    }, ms);
  }

  /** Watches the directory that is at the path now, unless it is watched already. */
  async #ensureWatch(): Promise<void> {
    const identity = await identityOf(this.#modsDir);
    if (this.#closed || (this.#watch !== undefined && identity === this.#watched)) return;
    this.#unwatch();
    if (identity === undefined) return;
    try {
      const fresh = this.#openWatch(this.#modsDir, { recursive: true }, (_event, path) => this.#note(path));
      fresh.on("error", (error) => this.#lost(fresh, error));
      this.#watch = fresh;
      this.#watched = identity;
      this.#refusal = undefined;
    } catch (error) {
      this.#refused(error);
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
      const changed = path.replaceAll("\\", "/");
      this.#pending.add(changed);
      if (this.#stirred.size === 0) setImmediate(() => this.#stir());
      this.#stirred.add(changed);
    } else {
      // The directory itself was moved or deleted. The next poll watches its successor.
      this.#anything = true;
      this.#unwatch();
    }
    const nowMs = performance.now();
    if (this.#quiet === undefined) this.#pendingSinceMs = nowMs;
    const untilStorm = this.#pendingSinceMs + this.#timing.stormMs - nowMs;
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => this.#tell(), Math.max(0, Math.min(this.#timing.quietMs, untilStorm)));
  }

  #stir(): void {
    const paths = this.#stirred;
    this.#stirred = new Set();
    if (!this.#closed) this.#listener.stirred(paths);
  }

  #tell(): void {
    this.#quiet = undefined;
    const hint: ChangeHint = this.#anything ? "anything" : this.#pending;
    this.#pending = new Set();
    this.#anything = false;
    this.#listener.changed(hint);
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
