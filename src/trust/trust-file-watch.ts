import { type FSWatcher, watch } from "node:fs";
import { basename, dirname } from "node:path";
import { messageOf, VeripyError } from "../base/errors.ts";
import { refuseWorldWritable } from "../base/file-modes.ts";
import { isSettled, stampOf } from "../base/file-stamp.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import { readRevokedKeys, revokedKeysPath } from "./revoked-keys.ts";
import { parseTrustedKeys, readTrustedKeysText, type TrustedKeys } from "./trust-file.ts";

export interface WatchOptions {
  /**
   * Called when the file has changed or an entry has expired, and for the first reading unless it equals `current`.
   */
  onChange(keys: TrustedKeys): void;
  /**
   * Called once for each different error: the file is missing, unreadable, invalid or world-writable. The last valid
   * version stays in effect.
   */
  onError(error: VeripyError): void;
  /** What the caller has already read. */
  current?: TrustedKeys;
  /**
   * Whether a text may be used: now, when `recheck` is called, or why not. Without it, every valid one.
   */
  admit?(text: string): "now" | "later" | VeripyError;
  /** How often the file is checked, apart from file system events. */
  pollMs?: number;
}

export interface TrustedKeysWatch {
  /** Checks the file now. Resolves after any change or error has been reported. */
  check(): Promise<void>;
  /** The same, for a file that has not changed, because what `admit` says has. */
  recheck(): Promise<void>;
  /** Ends the watch: nothing is called after this. Idempotent. */
  close(): void;
}

/** A file that is written in place is incomplete for a moment. */
const secondLookMs = 100;

/**
 * Reports changes of a trust file within a second, however it is changed: in place, by a rename, by switching a symbolic
 * link, or by deleting and recreating it. Polling guarantees that; file system events only make it faster.
 */
export function watchTrustedKeys(path: string, options: WatchOptions): TrustedKeysWatch {
  return new Watch(path, options);
}

class Watch implements TrustedKeysWatch {
  readonly #path: string;
  readonly #options: WatchOptions;
  readonly #timer: ReturnType<typeof setInterval>;
  #events: FSWatcher | undefined;
  #current: TrustedKeys | undefined;
  #expired = 0;
  /** The mark of the file that was last read; undefined when it must be read again whatever its mark is. */
  #mark: string | undefined;
  #revoked: ReadonlySet<Fingerprint>;
  #revokedMark: string | undefined;
  #revokedTrouble: { readonly reason: string; readonly isReported: boolean } | undefined;
  #reported: string | undefined;
  #suspected: string | undefined;
  #checking: Promise<void> | undefined;
  #checkAgain = false;
  #mustLook = false;
  #closed = false;

  constructor(path: string, options: WatchOptions) {
    this.#path = path;
    this.#options = options;
    this.#current = options.current;
    this.#expired = options.current?.countExpired() ?? 0;
    this.#revoked = options.current?.revoked ?? new Set();
    this.#timer = setInterval(() => void this.check(), options.pollMs ?? 250);
    this.#timer.unref();
    void this.check();
  }

  recheck(): Promise<void> {
    this.#mustLook = true;
    return this.check();
  }

  check(): Promise<void> {
    if (this.#checking !== undefined) {
      this.#checkAgain = true;
      return this.#checking;
    }
    this.#checking = this.#checkUntilCalm().finally(() => {
      this.#checking = undefined;
    });
    return this.#checking;
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#events?.close();
  }

  async #checkUntilCalm(): Promise<void> {
    do {
      this.#checkAgain = false;
      this.#listen();
      await this.#lookAtRevoked();
      await this.#look();
    } while (this.#checkAgain && !this.#closed);
    if (!this.#closed) this.#expire();
  }

  /** A watch ends when its directory is deleted, so this starts a new one when needed. */
  #listen(): void {
    if (this.#events !== undefined || this.#closed) return;
    try {
      const name = basename(this.#path);
      const revokedName = basename(revokedKeysPath(this.#path));
      const events = watch(dirname(this.#path), { persistent: false }, (_event, changed) => {
        if (changed === null || changed === name || changed === revokedName) void this.check();
      });
      events.on("error", () => this.#stopListening(events));
      this.#events = events;
    } catch {
      // No events on this file system. Polling continues.
    }
  }

  #stopListening(events: FSWatcher): void {
    events.close();
    if (this.#events === events) this.#events = undefined;
  }

  async #look(): Promise<void> {
    try {
      const nowMs = Date.now();
      const stamp = stampOf(this.#path);
      if (stamp.mark === this.#mark && !this.#mustLook) return;
      this.#mustLook = false;
      // Read even when the file is missing: reading gives the best message.
      const text = await readTrustedKeysText(this.#path);
      // Checked after reading, so that nothing is accepted that was written while every user could.
      await refuseWorldWritable(this.#path);
      const admission = this.#options.admit?.(text) ?? "now";
      if (admission instanceof VeripyError) throw admission;
      if (admission === "later") return;
      this.#take(text);
      this.#mark = stamp.kind === "file" && isSettled(stamp, nowMs) ? stamp.mark : undefined;
    } catch (error) {
      this.#mark = undefined;
      this.#suspect(error instanceof VeripyError ? error : new VeripyError("bad_config", messageOf(error)));
    }
  }

  /** Throws for an invalid text. */
  #take(text: string): void {
    if (text === this.#current?.text) {
      this.#reported = this.#suspected = undefined;
      return;
    }
    const keys = parseTrustedKeys(text, basename(this.#path)).without(this.#revoked);
    this.#reported = this.#suspected = undefined;
    this.#use(keys);
  }

  #use(keys: TrustedKeys): void {
    this.#current = keys;
    this.#expired = keys.countExpired();
    if (!this.#closed) this.#options.onChange(keys);
  }

  /** A file that is broken or missing takes no revocation back: only one that can be read does. */
  async #lookAtRevoked(): Promise<void> {
    const path = revokedKeysPath(this.#path);
    try {
      const nowMs = Date.now();
      const stamp = stampOf(path);
      if (stamp.mark === this.#revokedMark || (stamp.kind === "absent" && this.#revoked.size === 0)) return;
      const revoked = await readRevokedKeys(this.#path);
      if (revoked === undefined)
        throw new VeripyError("bad_config", `${path} is missing; the keys that it revoked stay revoked.`);
      this.#revokedTrouble = undefined;
      this.#revokedMark = isSettled(stamp, nowMs) ? stamp.mark : undefined;
      if (revoked.symmetricDifference(this.#revoked).size === 0) return;
      this.#revoked = revoked;
      if (this.#current !== undefined) this.#use(this.#current.without(revoked));
    } catch (error) {
      this.#revokedMark = undefined;
      const reason = messageOf(error);
      // A file that is written in place is incomplete for a moment, so this has to be seen twice.
      const isSecond = this.#revokedTrouble?.reason === reason;
      if (isSecond && this.#revokedTrouble?.isReported === false && !this.#closed)
        this.#options.onError(error instanceof VeripyError ? error : new VeripyError("bad_config", reason));
      this.#revokedTrouble = { reason, isReported: isSecond };
    }
  }

  /** Reads the clock every time, so that setting it forward or back takes effect too. */
  #expire(): void {
    const keys = this.#current;
    const expired = keys?.countExpired() ?? 0;
    if (keys === undefined || expired === this.#expired) return;
    this.#expired = expired;
    this.#options.onChange(keys);
  }

  #suspect(error: VeripyError): void {
    if (this.#closed || error.message === this.#reported) return;
    if (error.message !== this.#suspected) {
      this.#suspected = error.message;
      setTimeout(() => void this.check(), secondLookMs).unref();
      return;
    }
    this.#reported = error.message;
    this.#options.onError(error);
  }
}
