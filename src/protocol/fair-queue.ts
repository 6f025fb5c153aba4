/** Texts of one lane keep their order. A REF is a lane; so is what has to stay in order without one. */
export type Lane = string | number;

/** A longer frame waits for its turn. */
const maxFreshLength = 16 * 1024;
/** How much may go ahead of lanes that wait, before one of those has its turn. */
const maxAheadLength = 64 * 1024;

/**
 * Frames that wait for a congested socket. A small frame goes first if nothing else of its lane is waiting, so that no
 * answer waits for the results and streams of other calls. All others wait in their lanes, which take turns, a frame
 * each. Text without a lane keeps its place: behind all that came before it, ahead of all that follows.
 */
export class FairQueue {
  /** Lanes with one small frame, which came when nothing of theirs was waiting. The oldest is first. */
  readonly #fresh = new Map<Lane, string>();
  /** The other lanes, in the order of their turns. */
  readonly #turns = new Map<Lane, string[]>();
  /** What has to wait until all lanes are empty. */
  #last: string[] = [];
  #length = 0;
  /** What has left ahead of `#turns` since one of them had its turn. */
  #aheadLength = 0;

  /** UTF-16 units in all. */
  get length(): number {
    return this.#length;
  }

  add(text: string, lane: Lane | undefined): void {
    this.#length += text.length;
    if (lane === undefined || this.#last.length > 0) {
      this.#last.push(text);
      return;
    }
    const waiting = this.#turns.get(lane);
    if (waiting !== undefined) {
      waiting.push(text);
      return;
    }
    const first = this.#fresh.get(lane);
    if (first !== undefined) {
      this.#fresh.delete(lane);
      this.#turns.set(lane, [first, text]);
    } else if (text.length > maxFreshLength) this.#turns.set(lane, [text]);
    else this.#fresh.set(lane, text);
  }

  /** The frames that leave next, `length` or a little more. Empty when there is none. */
  take(length: number): string {
    let texts = "";
    while (texts.length < length && this.#length > 0) {
      const next = this.#next();
      this.#length -= next.length;
      texts += next;
    }
    return texts;
  }

  clear(): void {
    this.#fresh.clear();
    this.#turns.clear();
    this.#last = [];
    this.#length = 0;
  }

  #next(): string {
    const mayGoAhead = this.#turns.size === 0 || this.#aheadLength < maxAheadLength;
    const [fresh] = mayGoAhead ? this.#fresh : [];
    if (fresh !== undefined) {
      const [lane, text] = fresh;
      this.#fresh.delete(lane);
      this.#aheadLength += text.length;
      return text;
    }
    this.#aheadLength = 0;
    const [turn] = this.#turns;
    if (turn === undefined) return this.#last.shift() ?? "";
    const [lane, texts] = turn;
    this.#turns.delete(lane);
    const text = texts.shift() ?? "";
    if (texts.length > 0) this.#turns.set(lane, texts);
    return text;
  }
}
