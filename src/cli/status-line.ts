import type { Text } from "./text.ts";

const minIntervalMs = 100;

/** The terminal that a status line is drawn on. */
export interface StatusScreen {
  readonly columns: number;
  /** False while other output has left a line unfinished. */
  readonly isAtLineStart: boolean;
  write(data: string): void;
}

/**
 * A line below all other output on a terminal, redrawn at most ten times a second. It is drawn with carriage returns and
 * spaces only, without escape sequences, so it works on every terminal.
 *
 * The owner calls `clear` before it writes anything else to the terminal, and `end` when the line is no longer needed.
 */
export class StatusLine {
  readonly #screen: StatusScreen;
  /** Makes the line for a terminal with this many columns. */
  #render: ((columns: number) => Text) | undefined;
  /** Width of the drawn line in columns; 0 if none is drawn. */
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

  /** Removes the line to make room for other output. It is drawn again by itself. */
  clear(): void {
    this.#erase();
    if (this.#render !== undefined) this.#drawLater();
  }

  /** Removes the line and stops drawing it. */
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
    // It cannot be drawn within another line. The next output calls `clear`, which tries again.
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
