// Reviewing: one clip after the other, keep (k) or drop (d), undo (u).

import { address, get, post } from "./api.js";
import { readable } from "./amounts.js";
import { announce, fill, h, notice } from "./dom.js";
import { filmPlayer } from "./player.js";
import { takePlayer } from "./take3d.js";
import { spanText } from "./view.js";

const KEYS = { k: "keep", d: "drop" };

export async function show(container, { query, signal }) {
  const [{ reviewer, stored }, { recipes }] = await Promise.all([
    get("/api/labels", {}, { signal }), get("/api/bench", {}, { signal }),
  ]);
  if (!reviewer) {
    fill(container, notice({
      problem: "This viewer stores no labels.",
      hint: "clipmill browse CATALOG --label --reviewer NAME",
    }));
    return undefined;
  }
  const review = new Review(reviewer, stored, recipes, query, signal);
  fill(container, review.element);
  document.addEventListener("keydown", (event) => review.press(event), { signal });
  await review.start();
  return () => review.leave();
}

class Review {
  constructor(reviewer, stored, recipes, query, signal) {
    this.signal = signal;
    this.recipe = query.get("recipe") ?? recipes[0].id;
    this.gate = query.get("gate") ?? "";
    this.seed = 0;
    this.clips = [];
    this.done = [];
    this.busy = false;
    this.player = null;
    const mine = stored.find((item) => item.reviewer === reviewer) ?? { keep: 0, drop: 0 };
    this.counts = { keep: mine.keep, drop: mine.drop };
    this.tally = h("span", { class: "dim" });
    this.stage = h("div", { class: "label-stage" });
    this.wrong = h("div", {});
    this.gates = h("select", {
      "aria-label": "Which clips",
      onchange: (event) => { this.gate = event.target.value; this.start(); },
    });
    const choice = h("select", {
      "aria-label": "Recipe",
      onchange: (event) => { this.recipe = event.target.value; this.gate = ""; this.start(); },
    }, recipes.map(({ id, name }) => h("option", { value: id, selected: id === this.recipe }, name)));
    this.element = h("div", {},
      h("div", { class: "page-head" },
        h("h1", {}, `Labels of ${reviewer}`),
        h("div", { class: "row" }, choice, this.gates, this.tally)),
      this.wrong, this.stage);
  }

  /** Begin with clips of another kind. */
  async start() {
    history.replaceState({}, "", address("/labels", { recipe: this.recipe, gate: this.gate }));
    fill(this.stage, h("p", { class: "dim" }, "Choosing clips …"));
    await this.#guarded(async () => {
      const { gates } = await get("/api/bench/recipe", { recipe: this.recipe }, { signal: this.signal });
      fill(this.gates, h("option", { value: "" }, "clips drawn anywhere"),
        gates.map(({ gate }) => h("option", { value: gate, selected: gate === this.gate }, `near the limits of ${gate}`)));
      this.clips = [];
      await this.#next();
    });
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName)) return;
    if (KEYS[event.key]) this.#say(KEYS[event.key]);
    else if (event.key === "u") this.#undo();
    else return;
    event.preventDefault();
  }

  leave() {
    this.player?.media?.pause();
  }

  async #say(label) {
    const [clip] = this.clips;
    if (!clip) return;
    await this.#guarded(async () => {
      await post("/api/labels", { clip_id: clip.clip_id, label }, { signal: this.signal });
      this.counts[label] += 1;
      this.done.push({ clip, label });
      this.clips.shift();
      announce(`${label}: ${clip.name}`);
      await this.#next();
    });
  }

  async #undo() {
    const last = this.done.at(-1);
    if (!last) return;
    await this.#guarded(async () => {
      await post("/api/labels", { clip_id: last.clip.clip_id, label: null }, { signal: this.signal });
      this.done.pop();
      this.counts[last.label] -= 1;
      this.clips.unshift(last.clip);
      announce(`taken back: ${last.clip.name}`);
      await this.#next();
    });
  }

  /** One thing at a time; what the server refuses is shown. */
  async #guarded(work) {
    if (this.busy) return;
    this.busy = true;
    try {
      fill(this.wrong);
      await work();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.problem === undefined) throw error;
      fill(this.wrong, notice(error));
    } finally {
      this.busy = false;
    }
  }

  async #next() {
    this.leave();
    if (!this.clips.length) {
      const found = await get("/api/labels/queue", {
        recipe: this.recipe, gate: this.gate, seed: this.seed,
      }, { signal: this.signal });
      this.seed += 1;
      this.clips = found.clips;
    }
    const { keep, drop } = this.counts;
    this.tally.textContent = `${readable(keep)} keep, ${readable(drop)} drop`;
    const [clip] = this.clips;
    if (!clip) {
      fill(this.stage, h("p", { class: "notice" }, "Every clip of this kind is labelled."));
      return;
    }
    this.#show(clip);
  }

  #show(clip) {
    const screen = h("div", { class: "label-clip" });
    const button = (label, key) => h("button", {
      type: "button", class: label, onclick: () => this.#say(label),
    }, label === "keep" ? "Keep" : "Drop", " ", h("kbd", {}, key));
    fill(this.stage, screen,
      h("p", { dataset: { reviewed: clip.clip_id } }, h("b", {}, clip.name), " ",
        h("span", { class: "dim" }, spanText(clip.start_s, clip.end_s)),
        clip.value ? h("span", { class: "chip" }, clip.value) : null, " ",
        h("a", { href: `/clip/${clip.clip_id}` }, "all about it")),
      h("div", { class: "label-keys" }, button("drop", "d"), button("keep", "k"),
        h("button", { type: "button", disabled: !this.done.length, onclick: () => this.#undo() },
          "Undo ", h("kbd", {}, "u"))));
    this.#play(clip, screen);
  }

  /** Nobody has to wait for a film to say what is to become of it. */
  async #play(clip, screen) {
    try {
      const show = clip.kind === "mocap" ? takePlayer : filmPlayer;
      const player = await show(clip.clip_id, { signal: this.signal, autoplay: true });
      if (this.clips[0] !== clip) return;
      this.player = player;
      fill(screen, player.element);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.problem === undefined) throw error;
      fill(screen, notice(error));
    }
  }
}
