// One cell of the grid: a clip's picture, which a pointer that moves over it scrubs through, how long
// it is, and what is said of it. Cells are used again for other clips while the grid scrolls.

import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { readable, spanText } from "./view.js";

const MOST_PICTURES = 16;

export class Cell {
  /** `onLike(clip)` is called when clips like this one are asked for; null offers that not. */
  constructor(onLike) {
    this.picture = h("img", { alt: "", draggable: "false", decoding: "async" });
    this.scrub = h("i", { class: "scrub" });
    this.length = h("span", { class: "length number" });
    this.note = h("span", { class: "missing dim small" });
    this.title = h("span", { class: "title" });
    this.facts = h("span", { class: "facts dim small" });
    const frame = h("span", { class: "frame" }, this.picture, this.note, this.length, this.scrub);
    this.link = h("a", { class: "cell" }, frame, this.title, this.facts);
    this.element = h("div", { class: "place", role: "listitem" }, this.link);
    if (onLike) {
      this.element.append(h("button", {
        type: "button", class: "like", tabindex: "-1", "aria-label": "Find clips like this",
        title: "Find clips like this (l)", onclick: () => this.clip && onLike(this.clip),
      }, "≈"));
    }
    this.picture.addEventListener("error", () => this.#missing());
    this.picture.addEventListener("load", () => { this.picture.hidden = false; });
    frame.addEventListener("pointermove", (event) => this.#scrubTo(event));
    frame.addEventListener("pointerleave", () => this.#rest());
  }

  /** Stand for a clip, or for one that is still to come. */
  set(index, total, clip, shown) {
    this.index = index;
    if (this.clip === clip && clip) return;
    this.clip = clip;
    this.times = null;
    this.element.setAttribute("aria-posinset", index + 1);
    this.element.setAttribute("aria-setsize", total);
    this.element.classList.toggle("coming", !clip);
    this.note.textContent = "";
    this.scrub.hidden = true;
    if (!clip) {
      this.picture.removeAttribute("src");
      this.picture.hidden = true;
      this.link.removeAttribute("href");
      fill(this.title);
      fill(this.facts);
      this.length.textContent = "";
      return;
    }
    const span = spanText(clip.start_s, clip.end_s);
    this.link.href = `/clip/${clip.clip_id}`;
    this.link.title = `${clip.name} ${span}`;
    this.link.setAttribute("aria-label", `${clip.caption ?? clip.name}, ${readable(clip.duration_s)} seconds`);
    this.link.classList.toggle("take", clip.kind === "mocap");
    this.length.textContent = clip.duration_s === null ? "" : `${clip.duration_s.toFixed(1)} s`;
    fill(this.title, clip.caption ?? clip.name);
    fill(this.facts, shown.length
      ? shown.flatMap((name) => [h("span", {}, `${name} `, h("b", {}, readable(clip[name])))])
      : h("span", {}, clip.caption ? `${clip.name} ${span}` : span));
    this.#rest();
  }

  #poster() {
    return `/api/storyboard/${this.clip.clip_id}?place=${this.clip.place}`;
  }

  #missing() {
    this.picture.hidden = true;
    this.note.textContent = this.clip ? "no picture stored" : "";
  }

  #rest() {
    if (!this.clip) return;
    this.scrub.hidden = true;
    if (this.picture.getAttribute("src") !== this.#poster()) this.picture.src = this.#poster();
  }

  async #scrubTo(event) {
    const { clip } = this;
    if (!clip || this.picture.hidden || event.pointerType === "touch") return;
    const box = event.currentTarget.getBoundingClientRect();
    const share = Math.min(0.999, Math.max(0, (event.clientX - box.left) / box.width));
    if (this.times === null) {
      this.times = [];
      try {
        const { pts } = await get(`/api/storyboard/${clip.clip_id}/times`);
        if (this.clip !== clip) return;
        this.times = thinned(pts);
      } catch (error) {
        if (error.problem === undefined) throw error;
        return;
      }
    }
    if (!this.times.length) return;
    const pts = this.times[Math.floor(share * this.times.length)];
    this.picture.src = `/api/storyboard/${clip.clip_id}/${pts}`;
    this.scrub.hidden = false;
    this.scrub.style.inlineSize = `${100 * share}%`;
  }
}

function thinned(pts) {
  if (pts.length <= MOST_PICTURES) return pts;
  const step = pts.length / MOST_PICTURES;
  return Array.from({ length: MOST_PICTURES }, (_, n) => pts[Math.floor(n * step)]);
}
