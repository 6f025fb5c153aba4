/** Frames of one lane keep their order. Usually the REF of a request; a group of frames without a REF has its own name. */
export type Lane = string | number;

/** Only frames up to this length may overtake others. */
const maxFreshLength = 16 * 1024;
/** How much may overtake the waiting lanes before one of them gets a turn. */
const maxAheadLength = 64 * 1024;

/**
 * Frames that wait for a congested socket. A small frame goes first if nothing else of its lane is waiting, so that answers
 * don't wait behind the results and streams of other calls. All others wait in their lanes, which take turns, one frame
 * each. Text without a lane keeps its place: after everything added before it, before everything added later.
 */
export class FairQueue {
  /** Lanes of which only one small frame is waiting, oldest first. */
  readonly #fresh = new Map<Lane, string>();
  /** All other lanes, in the order of their turns. */
  readonly #turns = new Map<Lane, string[]>();
  /** Text without a lane and all that was added after it, which waits until the lanes are empty. */
  #last: string[] = [];
  #length = 0;
  /** How much has overtaken `#turns` since the last turn. */
  #aheadLength = 0;

  /** In UTF-16 units. */
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

  /** Removes and returns the next frames: `length` UTF-16 units or a little more. Empty when there are none. */
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
