import type { Text } from "./text.ts";

const minIntervalMs = 100;

/** Where a status line is drawn. */
export interface StatusScreen {
  readonly columns: number;
  /** False while the cursor stands behind other output on its line. */
  readonly isAtLineStart: boolean;
  write(data: string): void;
}

/**
 * One line below all other output of a terminal, drawn over and over, at most ten times a second. It needs nothing but
 * carriage returns and spaces, which every terminal understands and no escape sequence is needed for.
 *
 * The owner calls `clear` before it writes anything else to the terminal, and `end` when the line has served.
 */
export class StatusLine {
  readonly #screen: StatusScreen;
  /** Gives the line for a terminal of so many columns. */
  #render: ((columns: number) => Text) | undefined;
  /** Columns that the drawn line takes; 0 when none is drawn. */
  #drawnWidth = 0;
  #drawnAt = Number.NEGATIVE_INFINITY;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(screen: StatusScreen) {
    this.#screen = screen;
  }

  /** Shows this line from now on. */
  show(render: (columns: number) => Text): void {
    this.#render = render;
    if (this.#timer !== undefined) return;
    if (this.#waitMs === 0) this.#draw();
    else this.#drawLater();
  }

  /** Removes the line to make room for other output; it comes back by itself. */
  clear(): void {
    this.#erase();
    if (this.#render !== undefined) this.#drawLater();
  }

  /** Removes the line for good. */
  end(): void {
    this.#render = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#erase();
  }

  get #waitMs(): number {
    return Math.max(0, this.#drawnAt + minIntervalMs - performance.now());
  }

  #drawLater(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#draw();
    }, this.#waitMs).unref();
  }

  #draw(): void {
    // In the middle of a line there is no place for it. The next output calls `clear`, and it is tried again.
    if (this.#render === undefined || !this.#screen.isAtLineStart) return;
    const line = this.#render(this.#screen.columns);
    const rest = " ".repeat(Math.max(0, this.#drawnWidth - line.width));
    this.#screen.write(`\r${line.plain}${rest}`);
    this.#drawnWidth = line.width + rest.length;
    this.#drawnAt = performance.now();
  }

  #erase(): void {
    if (this.#drawnWidth === 0) return;
    this.#screen.write(`\r${" ".repeat(this.#drawnWidth)}\r`);
    this.#drawnWidth = 0;
  }
}
