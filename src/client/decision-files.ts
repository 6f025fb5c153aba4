import type { DecisionRecord } from "../approvals/decision-log.ts";
import type { Lock } from "../approvals/lock.ts";
import { type PlaceCatalogue, type ServerPlace, withCurrentKey } from "../approvals/lock-edits.ts";
import { editLock, readLock } from "../approvals/lock-file.ts";
import { earlierKeysOf, ServerDecisions } from "../approvals/server-decisions.ts";
import { catalogueIn, withMark } from "../approvals/shared-entry.ts";
import { messageOf, VeripyError } from "../base/errors.ts";
import { stampOf } from "../base/file-stamp.ts";
import { loggerOf } from "../base/log.ts";
import type { CatalogueMark } from "../catalogue/catalogue-mark.ts";
import type { ApprovalFiles } from "./approval-files.ts";
import type { VerifiedModule } from "./verifier.ts";

const log = loggerOf("approvals");

/** How often a lock is looked at for changes by other programs. */
const pollMs = 500;

type Locks = readonly [inUse: Lock | undefined, home: Lock | undefined];

/** The decisions about one server as they stand in the files, kept up to date, and what is to be written there. */
export class DecisionFiles {
  readonly #files: ApprovalFiles;
  readonly #onChange: () => void;
  #current: ServerDecisions | undefined;
  #place: ServerPlace | undefined;
  /** The server's earlier keys, as its connection has shown, and as the log says. */
  #earlierKeys: readonly string[] = [];
  #loggedKeys: readonly string[] = [];
  /** The lock in use and the home's, as they were read last. */
  #locks: Locks = [undefined, undefined];
  #stamps = "";
  #timer: ReturnType<typeof setInterval> | undefined;
  #isPolling = false;
  #isClosed = false;
  /** The last of the reads, which are made one after the other, so that an older state never replaces a newer one. */
  #reads: Promise<unknown> = Promise.resolve();
  /** What was seen and is not written yet. */
  #seen: Omit<DecisionRecord, "at" | "by">[] = [];
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

  /** Reads the files for the server that showed this key. Throws `bad_config` for one that can't be read, if none was read before. */
  async connected(fingerprint: string, earlierKeys: readonly string[], catalogue?: string): Promise<void> {
    const { lockFile, homeLockFile, locked, address } = this.#files;
    if (lockFile === undefined && homeLockFile === undefined && !locked) return;
    const isFirst = this.#place === undefined;
    if (this.#place?.fingerprint !== fingerprint) this.#loggedKeys = [];
    const known = this.#place?.catalogue;
    const named = catalogue === undefined ? undefined : { name: catalogue, mark: undefined, members: [] };
    const its = catalogue === undefined || catalogue === known?.name ? known : named;
    this.#place = { fingerprint, address, ...(its === undefined ? {} : { catalogue: its }) };
    this.#earlierKeys = earlierKeys;
    try {
      await this.refresh();
    } catch (error) {
      if (isFirst) throw error;
      // As after any edit that can't be read. The key may be another one.
      log.error("{error}", { error: messageOf(error) });
      this.#decide();
    }
    await this.#carry();
    if (this.#isClosed) return;
    this.#timer ??= setInterval(() => void this.#poll(), pollMs);
    this.#timer.unref();
  }

  /** The server has this catalogue, whose signature was checked. Notes its serial in the lock, if there is one. */
  async joined(catalogue: PlaceCatalogue): Promise<void> {
    if (this.#place === undefined) return;
    this.#place = { ...this.#place, catalogue };
    this.#decide();
    const { lockFile, locked } = this.#files;
    const { name, mark } = catalogue;
    const [lock] = this.#locks;
    if (lockFile === undefined || locked || lock === undefined || mark === undefined) return;
    if (withMark(lock, name, mark) === lock) return;
    try {
      await editLock(lockFile, (before) => withMark(before, name, mark));
      await this.refresh();
    } catch (error) {
      log.warn("The serial {serial} of the catalogue {name} is not noted in {path}: {error}", {
        serial: mark.serial,
        name,
        path: lockFile,
        error: messageOf(error),
      });
    }
  }

  /** What the lock in use says of a catalogue. */
  markOf(name: string): CatalogueMark | undefined {
    const [lock] = this.#locks;
    return lock && catalogueIn(lock, name);
  }

  /** Reads the files again. Rejects with `bad_config`; what was read last stays in force then. */
  refresh(): Promise<void> {
    const read = this.#reads.then(() => this.#read());
    this.#reads = read.catch(() => {});
    return read;
  }

  /** The lock with everything that was decided about this server under its current key. */
  carried(lock: Lock): Lock {
    return this.#place === undefined
      ? lock
      : withCurrentKey(lock, this.#place.fingerprint, [...this.#earlierKeys, ...this.#loggedKeys]);
  }

  /** The server's key has signed the one that comes next. */
  rotated(fingerprint: string, next: string): void {
    const { address } = this.#files;
    this.#write(async () => this.#files.log?.add([{ event: "rotated", server: fingerprint, address, next }]));
  }

  fetched({ mod, tree, files }: VerifiedModule): void {
    const { store, address } = this.#files;
    const server = this.#place?.fingerprint;
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
    this.#isClosed = true;
    clearInterval(this.#timer);
  }

  async #writeSeen(): Promise<void> {
    const seen = this.#seen;
    this.#seen = [];
    await this.#files.log?.tryAdd(seen);
    const { store } = this.#files;
    if (store?.isPruneDue === true) await store.prune(await this.#approvedTrees());
  }

  /** Of all servers, and of other locks, as far as the log knows them: they share the store. */
  async #approvedTrees(): Promise<string[]> {
    const inLocks = this.#locks.flatMap((lock) =>
      [...Object.values(lock?.servers ?? {}), ...Object.values(lock?.catalogues ?? {})].flatMap(
        ({ modules = {} }) => Object.values(modules).map(({ tree }) => tree),
      ),
    );
    const logged = (await this.#files.log?.read()) ?? [];
    return [...inLocks, ...logged.flatMap(({ event, tree }) => (event === "approved" ? (tree ?? []) : []))];
  }

  async #read(): Promise<void> {
    const stamps = this.#stampsNow();
    const { lockFile, homeLockFile } = this.#files;
    const [lockBefore, homeLockBefore] = this.#locks;
    const lock = await readAgain(lockFile, lockBefore);
    const homeLock = homeLockFile === lockFile ? lock : await readAgain(homeLockFile, homeLockBefore);
    const place = this.#place;
    const loggedKeys = await this.#keysInLog(place?.fingerprint, [lock, homeLock]);
    // Another key was shown meanwhile, for which the files are read next.
    if (place !== this.#place) return;
    this.#stamps = stamps;
    this.#locks = [lock, homeLock];
    this.#loggedKeys = loggedKeys;
    this.#decide();
  }

  /** The proof of a rotation may be older than a lock, which has the server under its earlier key. */
  async #keysInLog(fingerprint: string | undefined, locks: Locks): Promise<string[]> {
    const keys = locks.flatMap((lock) => Object.keys(lock?.servers ?? {}));
    if (fingerprint === undefined || keys.every((key) => key === fingerprint)) return [];
    return earlierKeysOf(fingerprint, (await this.#files.log?.rotations()) ?? []);
  }

  #decide(): void {
    if (this.#place === undefined) return;
    const [lock, homeLock] = this.#locks;
    const { locked } = this.#files;
    const earlierKeys = [...this.#earlierKeys, ...this.#loggedKeys];
    this.#current = new ServerDecisions(this.#place, { lock, homeLock, locked, earlierKeys });
    this.#onChange();
  }

  /** Writes down what belongs to the server's current key. It holds even where that can't be written. */
  async #carry(): Promise<void> {
    const { lockFile, homeLockFile } = this.#files;
    const files = new Map([
      [homeLockFile, this.#locks[1]],
      [lockFile, this.#locks[0]],
    ]);
    for (const [path, lock] of files) {
      if (path === undefined || lock === undefined || this.carried(lock) === lock) continue;
      try {
        await editLock(path, (before) => this.carried(before));
        await this.refresh();
      } catch (error) {
        log.warn("The server's new key is proven, but {path} still has the old one: {error}", {
          path,
          error: messageOf(error),
        });
      }
    }
  }

  async #poll(): Promise<void> {
    if (this.#isPolling) return;
    this.#isPolling = true;
    const stamps = this.#stampsNow();
    try {
      if (this.#stamps !== stamps) await this.refresh();
    } catch (error) {
      // Not again until the file changes. What was read last stays in force.
      this.#stamps = stamps;
      log.error("{error}", { error: messageOf(error) });
    } finally {
      this.#isPolling = false;
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

/** Reads a lock. One that was there must stay: while an editor replaces it, it may be missing for a moment. */
async function readAgain(path: string | undefined, before: Lock | undefined): Promise<Lock | undefined> {
  if (path === undefined) return undefined;
  const lock = await readLock(path);
  if (lock === undefined && before !== undefined)
    throw new VeripyError(
      "bad_config",
      `${path} is no longer there. What it said holds until this program ends.`,
    );
  return lock;
}
