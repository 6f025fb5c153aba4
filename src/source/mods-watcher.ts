import { type FSWatcher, watch } from "node:fs";
import { stat } from "node:fs/promises";
import { isSystemError, messageOf } from "../base/errors.ts";
import { loggerOf } from "../base/log.ts";

/** How `mods/` is watched; every field has a default. */
export interface WatchTiming {
  /** A change is told when nothing more came for this long. One save is two to four events within a millisecond. */
  quietMs: number;
  /** In a storm of events, a change is told at the latest after this. */
  stormMs: number;
  /** How often everything is compared with the disk, and a lost watch is replaced. */
  pollMs: number;
}

export const defaultWatchTiming: Readonly<WatchTiming> = { quietMs: 1, stormMs: 50, pollMs: 1_000 };

/** Paths below `mods/`, with forward slashes, that may have changed; or that anything may have. */
export type ChangeHint = ReadonlySet<string> | "anything";

export interface WatchListener {
  /** Something has just happened at these paths. Once a turn of the event loop, before the hint that names them. */
  stirred(paths: ReadonlySet<string>): void;
  /** From the first poll on. */
  changed(hint: ChangeHint): void;
}

/** Opens a watch on a directory and everything below; `watch` of `node:fs`, or what a test puts in its place. */
export type OpenWatch = (
  path: string,
  options: { recursive: true },
  listener: (event: string, path: string | null) => void,
) => FSWatcher;

const log = loggerOf("module");

/**
 * Tells when something may have changed in a directory or below. That is a hint, not the truth: events get lost,
 * and a directory that is deleted and made again, or a link that is swapped, leaves the watch on what was there
 * before. Hence the poll. Where the system refuses a watch, polling alone carries on.
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

  /** What `listener` has must not throw. Nothing of it is called after `close`. */
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

  /** Resolves when the watch stands, or was refused: changes after that are told. */
  async start(): Promise<void> {
    await this.#ensureWatch();
    this.#schedulePoll(this.#timing.pollMs);
  }

  /** Has everything compared in a moment: something changed, and what it concerns is not known. */
  pollSoon(): void {
    this.#schedulePoll(this.#timing.stormMs);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#quiet);
    clearTimeout(this.#poll);
    this.#unwatch();
  }

  /** Unless one comes sooner. */
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

  /** Watches what stands at the path now, if that is not what is watched. */
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
    // Gone between the look and the watch: the next poll sees to it.
    if (isSystemError(error, "ENOENT")) return;
    const reason = messageOf(error);
    if (reason === this.#refusal) return;
    this.#refusal = reason;
    log.warn(
      "Cannot watch {modsDir}: {reason}. Changes are found by looking every {pollMs} ms instead; on Linux, raising fs.inotify.max_user_watches or fs.inotify.max_user_instances helps.",
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
      // It is the directory itself that was moved or deleted: the next poll watches what stands there then.
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
    // Perhaps the directory is just being replaced by another.
    if (hint === "anything") this.pollSoon();
  }
}

/** With the time of birth, because a new directory often gets the inode of the one that was just deleted. */
async function identityOf(path: string): Promise<string | undefined> {
  return stat(path, { bigint: true }).then(
    ({ dev, ino, birthtimeNs }) => `${dev}:${ino}:${birthtimeNs}`,
    () => undefined,
  );
}
