// The grid: pictures of the clips of a view. What is shown stands in the address, so that a view can
// be shared and the way back leads to the same place.

import { aboutCatalog, address, get } from "./api.js";
import { BLOCK, Blocks } from "./blocks.js";
import { Cell } from "./cell.js";
import { announce, fill, h, notice } from "./dom.js";
import { FilterPanel } from "./filters.js";
import { Scroller } from "./scroller.js";
import { sqlBox } from "./sqlbox.js";
import { addressParameters, isPlain, readView, readable, viewParameters } from "./view.js";

const GAP = 12;
const WORDS_PX = 58;
const ALWAYS_SHOWN = new Set(["duration_s", "start_s", "end_s", "uri"]);
const SIZES = { small: 150, medium: 210, large: 320 };

export async function show(container, { query, signal }) {
  container.classList.add("bare");
  const [about, schema] = await Promise.all([aboutCatalog(), get("/api/columns", {}, { signal })]);
  const grid = new Grid(container, about, schema, query, signal);
  await grid.refresh(Number(query.get("at") ?? 0));
  return () => grid.stop();
}

class Grid {
  constructor(container, about, schema, query, signal) {
    Object.assign(this, { about, schema, signal, view: readView(query), total: 0, focused: -1 });
    this.size = SIZES[localStorage.getItem("size")] ? localStorage.getItem("size") : "medium";
    this.cells = new Map();
    this.spares = [];
    this.#build(container);
    this.shown = this.view;
    this.blocks = new Blocks((from, limit, stop) => fetchClips(this.shown, from, limit, stop), {
      arrived: () => this.scroller.redraw(),
      failed: (error) => this.#fail(error),
    });
    this.scroller = new Scroller(this.port, this.spacer, (...rows) => this.#draw(...rows));
    this.observer = new ResizeObserver(() => this.#measure());
    this.observer.observe(this.port);
  }

  stop() {
    this.observer.disconnect();
    this.blocks.stop();
  }

  // -- the frame -------------------------------------------------------------------------------

  #build(container) {
    this.count = h("p", { class: "count" });
    this.sql = sqlBox(this.schema, this.view.where, (where) => this.change({ where }));
    this.search = h("input", {
      type: "search", placeholder: "Search captions", "aria-label": "Search captions", value: this.view.text,
      onchange: () => this.change({ text: this.search.value.trim(), like: "" }),
    });
    this.chips = h("span", { class: "row chips" });
    this.panel = h("div", { class: "panel" });
    this.filters = new FilterPanel(this.panel, this.schema, (part) => this.change(part));
    this.sort = h("span", { class: "row sort" });
    this.side = h("aside", { class: "side", id: "filters", "aria-label": "Filters" }, this.panel);
    this.spacer = h("div", { class: "spacer", role: "list", "aria-label": "Clips" });
    this.fault = h("div");
    this.port = h("div", { class: "port", tabindex: "-1" }, this.fault, this.spacer);
    this.spacer.addEventListener("keydown", (event) => this.#key(event));
    this.spacer.addEventListener("focusin", (event) => this.#focusing(event));
    const toggle = h("button", {
      type: "button", class: "toggle", "aria-controls": "filters", "aria-expanded": "false",
      onclick: () => {
        const open = this.side.classList.toggle("open");
        toggle.setAttribute("aria-expanded", String(open));
      },
    }, "Filters");
    fill(container,
      h("div", { class: "tools" },
        toggle,
        this.about.captions ? this.search : null,
        this.sql.element,
        this.sort,
        this.#sizing()),
      h("div", { class: "status" }, this.count, this.chips),
      h("div", { class: "body" }, this.side, this.port));
  }

  #drawSort() {
    const groups = new Map();
    for (const { column, role, table } of this.schema.columns) {
      if (role === "other") continue;
      groups.set(table, [...(groups.get(table) ?? []), column]);
    }
    const key = this.view.sort.replace(/^-/, "");
    const choice = h("select", { "aria-label": "Sort by", onchange: () => sorted() },
      h("option", { value: "" }, this.view.text || this.view.like ? "best first" : "in order"),
      [...groups].map(([table, columns]) => h("optgroup", { label: table }, columns.map((column) =>
        h("option", { value: column, selected: column === key }, column)))));
    const largest = this.view.sort.startsWith("-");
    const direction = h("button", {
      type: "button", class: "icon", disabled: !key, "aria-pressed": String(largest),
      "aria-label": "Largest first", title: largest ? "largest first" : "smallest first",
      onclick: () => this.change({ sort: largest ? key : `-${key}` }),
    }, largest ? "↓" : "↑");
    const sorted = () => {
      const name = choice.value;
      const show = name && !ALWAYS_SHOWN.has(name) ? [...new Set([...this.view.show, name])] : this.view.show;
      this.change({ sort: name ? `-${name}` : "", show });
    };
    fill(this.sort, choice, direction);
  }

  #sizing() {
    const buttons = Object.keys(SIZES).map((name) => h("button", {
      type: "button", class: `icon size-${name}`, "aria-label": `${name} pictures`, "aria-pressed": String(name === this.size),
      onclick: () => {
        this.size = name;
        localStorage.setItem("size", name);
        for (const button of buttons) button.setAttribute("aria-pressed", String(button.classList.contains(`size-${name}`)));
        this.#measure();
      },
    }, h("i")));
    return h("span", { class: "row sizes", role: "group", "aria-label": "Size of pictures" }, buttons);
  }

  #drawChips() {
    const { view } = this;
    const shown = view.show.map((name) => h("span", { class: "chip" }, `shows ${name}`,
      h("button", { type: "button", class: "quiet", "aria-label": `Stop to show ${name}`, onclick: () => this.change({ show: view.show.filter((other) => other !== name) }) }, "×")));
    const like = view.like ? h("span", { class: "chip good" }, "like ", h("a", { href: `/clip/${view.like}`, class: "mono" }, view.like.slice(0, 8)),
      h("button", { type: "button", class: "quiet", "aria-label": "Stop to look for clips like this", onclick: () => this.change({ like: "" }) }, "×")) : null;
    const clear = isPlain(view) ? null : h("button", {
      type: "button", class: "quiet", onclick: () => this.change({ where: "", text: "", like: "", ranges: new Map(), values: new Map() }),
    }, "Clear all");
    const copy = this.condition ? h("button", {
      type: "button", class: "quiet", title: this.condition,
      onclick: async () => {
        await navigator.clipboard.writeText(`select * from clips where ${this.condition}`);
        announce("Copied");
        copy.textContent = "Copied";
      },
    }, "Copy SQL") : null;
    const changed = this.version === this.about.version ? null : h("button", {
      type: "button", class: "quiet", onclick: () => location.reload(),
    }, "The catalog has changed: look again");
    fill(this.chips, like, shown, copy, clear, changed);
  }

  // -- the view --------------------------------------------------------------------------------

  /** Show another view, and put it in the address. `part` may be a function of the view. */
  change(part) {
    this.view = { ...this.view, ...(typeof part === "function" ? part(this.view) : part) };
    history.pushState({}, "", address("/", addressParameters(this.view)));
    return this.refresh(0);
  }

  /** Ask for the view anew and show it from a position on; until it comes, the last one stays. */
  async refresh(at) {
    this.stopAsking?.abort();
    const asking = new AbortController();
    this.stopAsking = asking;
    const signal = AbortSignal.any([asking.signal, this.signal]);
    this.port.setAttribute("aria-busy", "true");
    this.search.value = this.view.text;
    this.sql.set(this.view.where);
    this.#drawSort();
    const first = Math.floor(at / BLOCK) * BLOCK;
    try {
      const answer = await fetchClips(this.view, first, BLOCK, signal);
      this.sql.problem(null);
      fill(this.fault);
      this.shown = this.view;
      this.blocks.stop();
      this.blocks.put(first, answer.clips);
      this.#came(answer, at);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#fail(error);
    } finally {
      if (this.stopAsking === asking) this.port.removeAttribute("aria-busy");
    }
    try {
      await this.filters.show(this.view, this.version, signal);
    } catch (error) {
      if (error.name !== "AbortError") fill(this.panel, notice(error));
    }
  }

  #came({ total, of, condition, version }, at) {
    Object.assign(this, { total, condition, version });
    const most = (this.view.text || this.view.like) && total === 1000 ? "best " : "";
    fill(this.count, h("b", {}, `${most}${readable(total)}`), ` of ${readable(of)} clips`);
    announce(`${readable(total)} of ${readable(of)} clips`);
    this.#drawChips();
    this.focused = -1;
    if (!total) fill(this.fault, h("p", { class: "notice" }, "No clip is like that. Widen a filter, or clear all."));
    this.#recycleAll();
    this.#measure(at);
  }

  #fail(error) {
    if (this.view.where && error.status === 400) this.sql.problem(error);
    else fill(this.fault, notice(error));
  }

  // -- cells -----------------------------------------------------------------------------------

  #measure(at = Math.floor(this.scroller.top) * (this.across || 1)) {
    const room = this.port.clientWidth - 2 * GAP;
    if (room <= 0) return;
    const wanted = Math.min(SIZES[this.size], (room - GAP) / 2);
    this.across = Math.max(1, Math.floor((room + GAP) / (wanted + GAP)));
    this.width = (room - GAP * (this.across - 1)) / this.across;
    const height = Math.round((this.width * 9) / 16) + WORDS_PX + GAP;
    this.spacer.style.setProperty("--cell", `${this.width}px`);
    this.scroller.resize(Math.ceil(this.total / this.across), height, at / this.across);
  }

  #draw(firstRow, endRow, place) {
    const first = firstRow * this.across;
    const end = Math.min(this.total, endRow * this.across);
    for (const [index, cell] of this.cells) {
      if (index < first || index >= end) this.#recycle(index, cell);
    }
    const stop = this.focused >= first && this.focused < end ? this.focused : first;
    for (let index = first; index < end; index += 1) {
      const cell = this.cells.get(index) ?? this.#cell(index);
      cell.set(index, this.total, this.blocks.at(index), this.shown.show);
      const x = GAP + (index % this.across) * (this.width + GAP);
      cell.element.style.transform = `translate(${x}px, ${GAP + place(Math.floor(index / this.across))}px)`;
      cell.link.tabIndex = index === stop ? 0 : -1;
    }
    this.blocks.want(first, end);
    this.#remember();
  }

  #cell(index) {
    const canLike = this.about.models.length > 0;
    const cell = this.spares.pop() ?? new Cell(canLike ? (clip) => this.change({ like: clip.clip_id, text: "" }) : null);
    this.cells.set(index, cell);
    this.spacer.append(cell.element);
    return cell;
  }

  #recycle(index, cell) {
    this.cells.delete(index);
    cell.element.remove();
    cell.set(index, this.total, undefined, []);
    this.spares.push(cell);
  }

  #recycleAll() {
    for (const [index, cell] of this.cells) this.#recycle(index, cell);
  }

  /** Keep the position in the address, for the way back. */
  #remember() {
    clearTimeout(this.remembering);
    this.remembering = setTimeout(() => {
      if (this.signal.aborted) return;
      const at = Math.floor(this.scroller.top) * this.across;
      history.replaceState({}, "", address("/", { ...addressParameters(this.view), at: at || null }));
    }, 300);
  }

  // -- keys ------------------------------------------------------------------------------------

  #focusing(event) {
    for (const [index, cell] of this.cells) {
      const isIt = cell.element.contains(event.target);
      if (isIt) this.focused = index;
      cell.link.tabIndex = isIt ? 0 : -1;
    }
  }

  #key(event) {
    const page = this.across * Math.max(1, Math.floor(this.port.clientHeight / this.scroller.rowHeight));
    const moves = {
      ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.across, ArrowUp: -this.across,
      PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity,
    };
    if (event.key === "l" && this.about.models.length) {
      const clip = this.blocks.at(this.focused);
      if (clip) this.change({ like: clip.clip_id, text: "" });
    } else if (event.key in moves) {
      const target = Math.min(this.total - 1, Math.max(0, this.focused + moves[event.key]));
      this.focused = target;
      this.scroller.reveal(Math.floor(target / this.across));
      this.cells.get(target)?.link.focus({ preventScroll: true });
    } else return;
    event.preventDefault();
  }
}

function fetchClips(view, from, limit, signal) {
  return get("/api/clips", { ...viewParameters(view), from, limit, columns: view.show }, { signal });
}
