// The clips of a view, fetched in blocks as they come into sight. What is scrolled past before it
// came is given up, and only the blocks used last are kept, so memory does not grow.

const BLOCK = 60;
const KEPT = 24;
const AT_ONCE = 2;

export class Blocks {
  /** `fetch(from, limit, signal)` gives {clips}; `arrived()` and `failed(error)` tell of it. */
  constructor(fetch, { arrived, failed }) {
    Object.assign(this, { fetch, arrived, failed });
    this.kept = new Map();
    this.asked = new Map();
    this.wanted = [];
  }

  /** Forget everything and give up what is under way. */
  stop() {
    for (const question of this.asked.values()) question.abort();
    this.wanted = [];
    this.asked.clear();
    this.kept.clear();
  }

  /** A clip by its position in the view, undefined while it is not there. */
  at(index) {
    return this.kept.get(Math.floor(index / BLOCK))?.[index % BLOCK];
  }

  /** Put clips that came by another way. */
  put(from, clips) {
    if (from % BLOCK === 0) this.#keep(from / BLOCK, clips);
  }

  /** Have the clips from `first` to `end`. */
  want(first, end) {
    this.wanted = [];
    for (let number = Math.floor(first / BLOCK); number * BLOCK < end; number += 1) {
      if (this.kept.has(number)) this.#keep(number, this.kept.get(number));
      else this.wanted.push(number);
    }
    for (const [number, question] of this.asked) {
      if (!this.wanted.includes(number)) {
        question.abort();
        this.asked.delete(number);
      }
    }
    this.#ask();
  }

  #keep(number, clips) {
    this.kept.delete(number);
    this.kept.set(number, clips);
    while (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
  }

  #ask() {
    for (const number of this.wanted) {
      if (this.asked.size >= AT_ONCE) return;
      if (!this.asked.has(number)) this.#fetch(number);
    }
  }

  async #fetch(number) {
    const question = new AbortController();
    this.asked.set(number, question);
    try {
      const { clips } = await this.fetch(number * BLOCK, BLOCK, question.signal);
      if (question.signal.aborted) return;
      this.#keep(number, clips);
      this.arrived();
    } catch (error) {
      if (error.name === "AbortError" || question.signal.aborted) return;
      this.failed(error);
    } finally {
      if (this.asked.get(number) === question) {
        this.asked.delete(number);
        this.wanted = this.wanted.filter((other) => other !== number);
        this.#ask();
      }
    }
  }
}

export { BLOCK };
