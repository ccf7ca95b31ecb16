// A list of any length in a window of the page: only the rows near the window exist.
//
// Browsers cap the height of an element (at some 33 million pixels), a grid of a million clips may
// need more. So the spacer has at most TALLEST pixels. Small moves scroll by just what was asked;
// a jump (the bar was dragged) goes to that share of the list. `base` is what lies between the
// position in the spacer and the position in the list.

const TALLEST = 8_000_000;
const SPARE_ROWS = 2;

export class Scroller {
  /**
   * `draw(first, end, place)` is called with the rows that must exist; `place(row)` is where a row
   * is in the spacer, in pixels.
   */
  constructor(port, spacer, draw) {
    Object.assign(this, { port, spacer, draw });
    this.rows = 0;
    this.rowHeight = 1;
    this.base = 0;
    this.last = 0;
    this.waiting = 0;
    port.addEventListener("scroll", () => this.#moved(), { passive: true });
    port.addEventListener("scrollend", () => this.#settle(), { passive: true });
  }

  /** Set what there is; `top` is the row to begin with, else the position stays. */
  resize(rows, rowHeight, top = this.top) {
    Object.assign(this, { rows, rowHeight });
    this.spacer.style.height = `${this.#real}px`;
    this.show(top);
  }

  /** The row at the top of the window, with its fraction. */
  get top() {
    return this.rowHeight ? (this.port.scrollTop + this.base) / this.rowHeight : 0;
  }

  /** Go to a row. */
  show(row) {
    this.#goTo(row * this.rowHeight);
    this.redraw();
  }

  /** Scroll as little as shows all of a row. */
  reveal(row) {
    const start = row * this.rowHeight;
    const shown = this.port.scrollTop + this.base;
    const height = this.port.clientHeight;
    if (start < shown) this.show(row);
    else if (start + this.rowHeight > shown + height) {
      this.#goTo(start + this.rowHeight - height);
      this.redraw();
    }
  }

  redraw() {
    const shown = this.port.scrollTop + this.base;
    const first = Math.max(0, Math.floor(shown / this.rowHeight) - SPARE_ROWS);
    const end = Math.ceil((shown + this.port.clientHeight) / this.rowHeight) + SPARE_ROWS;
    this.draw(first, Math.min(this.rows, end), (row) => row * this.rowHeight - this.base);
  }

  get #virtual() { return this.rows * this.rowHeight; }
  get #real() { return Math.min(this.#virtual, TALLEST); }

  /** Positions in the spacer for one in the list, and back. */
  get #share() {
    const room = this.#virtual - this.port.clientHeight;
    return room > 0 ? (this.#real - this.port.clientHeight) / room : 1;
  }

  #goTo(virtual) {
    const most = Math.max(0, this.#virtual - this.port.clientHeight);
    const target = Math.min(most, Math.max(0, virtual));
    this.port.scrollTop = target * this.#share;
    this.last = this.port.scrollTop;
    this.base = target - this.last;
  }

  #moved() {
    const now = this.port.scrollTop;
    const window = this.port.clientHeight;
    if (this.#virtual > TALLEST) {
      const atEnd = now < window || now > this.#real - 2 * window;
      if (Math.abs(now - this.last) > 3 * window) this.base = now / this.#share - now;
      else if (atEnd) this.#goTo(now + this.base);
    }
    this.last = this.port.scrollTop;
    this.waiting ||= requestAnimationFrame(() => {
      this.waiting = 0;
      this.redraw();
    });
  }

  /** After scrolling, let the bar tell the place in the list again. */
  #settle() {
    if (this.#virtual <= TALLEST) return;
    const shown = this.port.scrollTop + this.base;
    if (Math.abs(shown * this.#share - this.port.scrollTop) > 1) this.show(shown / this.rowHeight);
  }
}
