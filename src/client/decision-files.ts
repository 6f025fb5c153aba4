import type { DecisionRecord } from "../approvals/decision-log.ts";
import type { Lock } from "../approvals/lock.ts";
import { withNextKey } from "../approvals/lock-edits.ts";
import { editLock, readLock } from "../approvals/lock-file.ts";
import { earlierKeysOf, ServerDecisions } from "../approvals/server-decisions.ts";
import { messageOf } from "../base/errors.ts";
import { stampOf } from "../base/file-stamp.ts";
import { loggerOf } from "../base/log.ts";
import type { ApprovalFiles } from "./approval-files.ts";
import type { VerifiedModule } from "./verifier.ts";

const log = loggerOf("approvals");

/** How often a lock is looked at for changes by other programs. */
const pollMs = 500;

/** The decisions about one server as they stand in the files, kept up to date, and what is to be written there. */
export class DecisionFiles {
  readonly #files: ApprovalFiles;
  readonly #onChange: () => void;
  #current: ServerDecisions | undefined;
  #earlierKeys: readonly string[] = [];
  #locks: readonly (Lock | undefined)[] = [];
  #stamps = "";
  #timer: ReturnType<typeof setInterval> | undefined;
  /** What was seen and is not written yet. */
  #seen: Omit<DecisionRecord, "at" | "by">[] = [];
  #isPruned = false;
  /** The last of the writes, which are made one after the other. */
  #writes: Promise<unknown> = Promise.resolve();

  constructor(files: ApprovalFiles, onChange: () => void) {
    this.#files = files;
    this.#onChange = onChange;
  }

  /** Undefined without a lock, and before the first connection. */
  get current(): ServerDecisions | undefined {
    return this.#current;
  }

  /** Reads the files for the server that showed this key. */
  async connected(fingerprint: string, earlierKeys: readonly string[]): Promise<void> {
    const { lockFile, homeLockFile, locked, address } = this.#files;
    if (lockFile === undefined && homeLockFile === undefined && !locked) return;
    const place = { fingerprint, address };
    this.#earlierKeys = earlierKeys;
    await this.#read(place);
    // The proof may be older than the lock in use.
    if (this.#current?.isOtherKey === true && this.#files.log !== undefined) {
      this.#earlierKeys = [...earlierKeys, ...earlierKeysOf(fingerprint, await this.#files.log.read())];
      await this.#read(place);
    }
    await this.#carry();
    this.#timer ??= setInterval(() => void this.#poll(), pollMs);
    this.#timer.unref();
  }

  /** Reads the files again. Rejects with `bad_config`; what was read last stays in force then. */
  async refresh(): Promise<void> {
    if (this.#current !== undefined) await this.#read(this.#current.place);
  }

  /** The lock with this server's entry under its current key, if a proven rotation has brought it there. */
  carried(lock: Lock): Lock {
    const { place, entryKey } = this.#current ?? {};
    return place === undefined || entryKey === undefined
      ? lock
      : withNextKey(lock, entryKey, place.fingerprint);
  }

  rotated(fingerprint: string, next: string): void {
    const { address } = this.#files;
    this.#write(async () => this.#files.log?.add([{ event: "rotated", server: fingerprint, address, next }]));
  }

  fetched({ mod, tree, files }: VerifiedModule): void {
    const { store, address } = this.#files;
    const server = this.#current?.place.fingerprint;
    this.#write(async () => store?.keep(files));
    if (server === undefined) return;
    this.#seen.push({ event: "seen", server, address, mod, tree });
    // The first of several writes them all.
    if (this.#seen.length === 1) this.#write(() => this.#writeSeen());
  }

  settled(): Promise<void> {
    return this.#writes.then(() => {});
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #writeSeen(): Promise<void> {
    const seen = this.#seen;
    this.#seen = [];
    await this.#files.log?.add(seen);
    if (this.#isPruned) return;
    this.#isPruned = true;
    await this.#files.store?.prune(this.#approvedTrees());
  }

  /** Of all servers: they share the store. */
  #approvedTrees(): string[] {
    return this.#locks.flatMap((lock) =>
      Object.values(lock?.servers ?? {}).flatMap(({ modules = {} }) =>
        Object.values(modules).map(({ tree }) => tree),
      ),
    );
  }

  async #read(place: { fingerprint: string; address: string }): Promise<void> {
    const { lockFile, homeLockFile, locked } = this.#files;
    const stamps = this.#stampsNow();
    const lock = lockFile === undefined ? undefined : await readLock(lockFile);
    const homeLock =
      homeLockFile === undefined
        ? undefined
        : homeLockFile === lockFile
          ? lock
          : await readLock(homeLockFile);
    this.#stamps = stamps;
    this.#locks = [lock, homeLock];
    this.#current = new ServerDecisions(place, { lock, homeLock, locked, earlierKeys: this.#earlierKeys });
    this.#onChange();
  }

  /** Writes down that the entry belongs to the server's current key. It holds even where that can't be written. */
  async #carry(): Promise<void> {
    const { lockFile } = this.#files;
    const { place, entryKey } = this.#current ?? {};
    if (lockFile === undefined || place === undefined || entryKey === undefined) return;
    if (entryKey === place.fingerprint) return;
    try {
      await editLock(lockFile, (lock) => withNextKey(lock, entryKey, place.fingerprint));
      await this.refresh();
    } catch (error) {
      log.warn("The server's new key is proven, but {lockFile} still has the old one: {error}", {
        lockFile,
        error: messageOf(error),
      });
    }
  }

  async #poll(): Promise<void> {
    const stamps = this.#stampsNow();
    if (this.#stamps === stamps) return;
    try {
      await this.refresh();
    } catch (error) {
      // Not again until the file changes. What was read last stays in force.
      this.#stamps = stamps;
      log.error("{error}", { error: messageOf(error) });
    }
  }

  #stampsNow(): string {
    const paths = [this.#files.lockFile, this.#files.homeLockFile].filter((path) => path !== undefined);
    return paths.map((path) => stampOf(path).mark).join(" ");
  }

  #write(write: () => Promise<unknown>): void {
    this.#writes = this.#writes.then(write).catch((error) => {
      log.warn("{error}", { error: messageOf(error) });
    });
  }
}
