// The recipe bench: move a limit and see at once what is kept, gained and lost.
//
// What is changed stands in the address: recipe, set=GATE=SQL, limit=GATE:NUMBER:VALUE. One question
// is under way at a time; while it is, only the newest change waits.

import { address, get } from "./api.js";
import { announce, fill, h, notice, svg } from "./dom.js";
import { clipFigure } from "./figure.js";
import { latest } from "./latest.js";
import { counted, lengthText, readable } from "./amounts.js";

const STEPS = 400;

export async function show(container, { query, signal }) {
  const { recipes } = await get("/api/bench", {}, { signal });
  const bench = new Bench(recipes, query, signal);
  fill(container, bench.element);
  await bench.load();
}

class Bench {
  constructor(recipes, query, signal) {
    this.signal = signal;
    this.recipe = query.get("recipe") ?? recipes[0].id;
    this.set = new Map(query.getAll("set").map((text) => cut(text, "=")));
    this.limits = new Map(query.getAll("limit").map((text) => cutLast(text, ":")));
    this.moved = query.get("moved") ?? "";
    this.judge = latest((ask) => this.#judged(ask), signal);
    this.gates = h("div", { class: "gates" });
    this.wrong = h("div", {});
    this.outcome = h("section", { class: "outcome", "aria-label": "What is kept" });
    this.edges = h("section", { class: "edges", "aria-label": "Clips nearest to the limits" });
    this.name = h("input", {
      type: "text", size: 18, "aria-label": "Name of the recipe", oninput: () => this.#address(),
    });
    this.file = h("a", { class: "button primary", download: "" }, "Save as recipe");
    this.choice = h("select", {
      "aria-label": "Recipe",
      onchange: (event) => this.#choose(event.target.value),
    }, recipes.map(({ id, name }) => h("option", { value: id, selected: id === this.recipe }, name)));
    this.element = h("div", { class: "bench-page" },
      h("div", { class: "row spread" },
        h("h1", {}, "Recipe bench"),
        h("div", { class: "row" },
          this.choice,
          h("button", { type: "button", onclick: () => this.#choose(this.recipe) }, "Reset"),
          this.name,
          this.file,
          h("button", { type: "button", onclick: () => this.#copy() }, "Copy"))),
      this.wrong,
      h("div", { class: "bench-sides" },
        h("div", { class: "bench-gates" }, this.gates, this.#adder()),
        h("div", { class: "bench-outcome" }, this.outcome, this.edges)));
  }

  /** Ask for the gates anew: the recipe is another one, or a gate's text was changed. */
  async load() {
    try {
      const found = await get("/api/bench/recipe", this.#parameters(), { signal: this.signal });
      fill(this.wrong);
      if (!this.name.value) this.name.value = found.name;
      fill(this.gates, found.gates.map((gate) => this.#gate(gate)));
      this.judge();
    } catch (error) {
      this.#refused(error);
    }
  }

  #choose(recipe) {
    this.recipe = recipe;
    this.set.clear();
    this.limits.clear();
    this.moved = "";
    this.name.value = "";
    fill(this.edges);
    this.load();
  }

  #parameters() {
    return {
      recipe: this.recipe,
      set: [...this.set].map(([gate, sql]) => `${gate}=${sql}`),
      limit: [...this.limits].map(([place, value]) => `${place}:${value}`),
    };
  }

  #address() {
    const parameters = this.#parameters();
    history.replaceState({}, "", address("/bench", { ...parameters, moved: this.moved }));
    this.file.href = address("/api/bench/recipe.yaml", { ...parameters, name: this.name.value });
  }

  async #judged(ask) {
    this.#address();
    try {
      const found = await get("/api/bench/judge", { ...this.#parameters(), moved: this.moved }, ask);
      fill(this.wrong);
      this.#show(found);
    } catch (error) {
      this.#refused(error);
    }
  }

  #refused(error) {
    if (error.name === "AbortError") return;
    if (error.problem === undefined) throw error;
    fill(this.wrong, notice(error));
  }

  async #copy() {
    const response = await fetch(this.file.href, { signal: this.signal });
    if (!response.ok) return;
    await navigator.clipboard.writeText(await response.text());
    announce("The recipe is copied.");
  }

  // -- gates -----------------------------------------------------------------------------------

  #gate({ gate, predicate, loaded, limits }) {
    const text = h("input", {
      type: "text", class: "mono predicate", value: predicate, spellcheck: "false",
      "aria-label": `SQL of ${gate}`,
      onchange: (event) => this.#rewrite(gate, event.target.value),
    });
    const charts = [...new Set(limits.map(({ value }) => value))].map((value) =>
      this.#sliders(gate, value, limits.map((limit, number) => ({ ...limit, number }))
        .filter((limit) => limit.value === value)));
    return h("article", { class: "card gate", dataset: { gate } },
      h("div", { class: "row spread" },
        h("h2", {}, gate, predicate === loaded ? null : h("span", { class: "chip" }, "changed")),
        h("button", {
          type: "button", class: "quiet", "aria-label": `Remove gate ${gate}`,
          onclick: () => this.#rewrite(gate, ""),
        }, "Remove")),
      text,
      charts);
  }

  /** A histogram with a slider below it for each limit of the same value. */
  #sliders(gate, value, limits) {
    const { chart, median } = limits[0];
    const low = Math.min(...limits.map((limit) => limit.chart.low));
    const high = Math.max(...limits.map((limit) => limit.chart.high));
    const bars = chart.counts.map((count, number) => bar(count, number, chart));
    const paint = () => bars.forEach((item, number) => {
      const middle = chart.low + (number + 0.5) * (chart.high - chart.low) / bars.length;
      item.classList.toggle("out", limits.some(({ sign, limit }) => !holds(middle, sign, limit)));
    });
    const rows = limits.map((limit) => this.#slider(gate, limit, low, high, paint));
    paint();
    const outside = chart.below + chart.above;
    return h("div", { class: "slider-of" },
      svg("svg", {
        viewBox: `0 0 ${Math.max(1, bars.length)} 30`, preserveAspectRatio: "none",
        class: "spread-chart", "aria-hidden": "true",
      }, bars),
      rows,
      h("p", { class: "dim small" },
        `${value}: ${readable(low)} to ${readable(high)}, median ${readable(median)}`,
        outside ? `; ${counted(outside, "clip")} beyond` : ""));
  }

  #slider(gate, limit, low, high, paint) {
    const place = `${gate}:${limit.number}`;
    const step = (high - low) / STEPS || 1;
    const rounded = (value) => Number(value.toPrecision(4));
    const move = (value) => {
      limit.limit = value;
      this.limits.set(place, value);
      this.moved = gate;
      paint();
      this.judge();
    };
    const range = h("input", {
      type: "range", min: low, max: high, step, value: limit.limit,
      "aria-label": `${gate}: ${limit.value} ${limit.sign}`,
      oninput: () => {
        box.value = rounded(Number(range.value));
        move(Number(box.value));
      },
    });
    const box = h("input", {
      type: "text", inputmode: "decimal", size: 7, class: "number", value: limit.limit,
      "aria-label": `${gate}: ${limit.value} ${limit.sign}, exactly`,
      onchange: () => {
        const value = Number(box.value);
        if (box.value.trim() === "" || !Number.isFinite(value)) {
          box.value = limit.limit;
          return;
        }
        range.value = value;
        move(value);
      },
    });
    return h("div", { class: "limit" }, h("span", { class: "sign mono" }, limit.sign), range, box);
  }

  #rewrite(gate, predicate) {
    this.set.set(gate, predicate);
    for (const place of this.limits.keys()) {
      if (place.startsWith(`${gate}:`)) this.limits.delete(place);
    }
    this.moved = predicate.trim() ? gate : "";
    if (!this.moved) fill(this.edges);
    this.load();
  }

  #adder() {
    const gate = h("input", { type: "text", size: 10, placeholder: "name", "aria-label": "Name of a new gate" });
    const predicate = h("input", {
      type: "text", class: "mono predicate", placeholder: "motion_px between 0.5 and 20",
      "aria-label": "SQL of a new gate",
    });
    return h("form", {
      class: "card adder",
      onsubmit: (event) => {
        event.preventDefault();
        if (!gate.value.trim() || !predicate.value.trim()) return;
        this.#rewrite(gate.value.trim(), predicate.value.trim());
        gate.value = predicate.value = "";
      },
    }, h("h2", {}, "Another gate"), h("div", { class: "row" }, gate, h("button", {}, "Add")), predicate);
  }

  // -- outcome ---------------------------------------------------------------------------------

  #show({ gates, funnel, gained, lost, edges }) {
    for (const [gate, predicate] of Object.entries(gates)) {
      const shown = this.gates.querySelector(`[data-gate="${CSS.escape(gate)}"] .predicate`);
      if (shown && shown !== document.activeElement) shown.value = predicate;
    }
    fill(this.outcome,
      h("p", { class: "kept" },
        h("b", { dataset: { kept: funnel.kept_clips } }, readable(funnel.kept_clips)),
        ` of ${readable(funnel.clips)} clips, ${lengthText(funnel.kept_hours)} `,
        h("span", { class: "chip good" }, `+${readable(gained.clips)} gained`), " ",
        h("span", { class: "chip bad" }, `−${readable(lost.clips)} lost`)),
      h("ol", { class: "funnel" },
        step("all clips", "", funnel.clips, funnel.hours, funnel.clips),
        funnel.steps.map((item) => step(
          item.gate, item.predicate, item.clips_out, item.hours_out, funnel.clips, losses(item)))),
      swing("Gained", gained), swing("Lost", lost));
    fill(this.edges, edges.map(({ value, sign, limit, inside, outside }) => h("div", {},
      h("h2", {}, `At ${value} ${sign} ${readable(limit)}`),
      h("div", { class: "two" },
        side("just in", "good", inside), side("just out", "bad", outside)))));
    announce(`${funnel.kept_clips} clips kept, ${gained.clips} gained, ${lost.clips} lost`);
  }
}

function holds(value, sign, limit) {
  switch (sign) {
    case ">=": return value >= limit;
    case ">": return value > limit;
    case "<=": return value <= limit;
    default: return value < limit;
  }
}

function bar(count, number, { counts }) {
  // Square roots, so that rare values can be seen beside common ones.
  const height = count ? Math.max(1.2, 30 * Math.sqrt(count / Math.max(...counts))) : 0;
  return svg("rect", { x: number + 0.06, y: 30 - height, width: 0.88, height });
}

function step(gate, predicate, clips, hours, of, words = "") {
  const share = of ? clips / of : 0;
  return h("li", { dataset: { step: gate, clips } },
    h("span", {}, gate, " ", predicate ? h("code", { class: "dim" }, predicate) : null),
    h("span", { class: "track" }, h("i", { style: { width: `${100 * share}%` } })),
    h("span", { class: "number" }, h("b", {}, readable(clips)), ` · ${lengthText(hours)}`),
    words ? h("span", { class: "dim small" }, words) : null);
}

function losses({ clips_in, clips_out, alone_failed_clips, only_failed_clips, null_clips }) {
  const lost = `loses ${readable(clips_in - clips_out)}`;
  if (alone_failed_clips === null) return lost;
  const missing = null_clips ? `, ${readable(null_clips)} not measured` : "";
  return `${lost}; ${readable(alone_failed_clips)} of all fail it, `
    + `${readable(only_failed_clips)} fail it alone${missing}`;
}

function swing(title, { clips, hours, examples }) {
  if (!clips) return null;
  return h("details", { open: true, class: "swing" },
    h("summary", {}, `${title}: ${counted(clips, "clip")}, ${lengthText(hours)}`),
    h("div", { class: "strip" }, examples.map((clip) => clipFigure(clip))));
}

function side(title, kind, clips) {
  return h("div", {},
    h("h3", { class: kind }, title),
    clips.length
      ? h("div", { class: "strip" }, clips.map((clip) => clipFigure(clip, readable(clip.at))))
      : h("p", { class: "dim" }, `No clip is ${title} by this limit alone.`));
}

function cut(text, mark) {
  const at = text.indexOf(mark);
  return [text.slice(0, at), text.slice(at + 1)];
}

function cutLast(text, mark) {
  const at = text.lastIndexOf(mark);
  return [text.slice(0, at), Number(text.slice(at + 1))];
}
