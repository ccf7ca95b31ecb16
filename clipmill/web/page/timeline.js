// The signals of a source over time, with its clips: a canvas of curves and a strip of links.
//
// The server sends the smallest and largest value of each bin (/api/clip/ID/timeline), so that a
// source of ten hours costs no more than one of a second.

import { get } from "./api.js";
import { navigate } from "./app.js";
import { fill, h } from "./dom.js";

const MOST_LINKS = 400;
const LANE_PX = 54;
const GAP_PX = 10;
const COLOURS = ["--accent", "--right", "--left", "--good"];

/**
 * @param {object} clip the clip's row
 * @param {{signal: AbortSignal, onseek: (seconds: number) => void}} options
 */
export function timeline(clip, { signal, onseek }) {
  const chart = new Chart(clip, onseek, signal);
  const buttons = h("div", { class: "row", role: "group", "aria-label": "How much of the source" });
  const scopes = [["Whole source", null], ["Around this clip", 1.5]];
  const choose = async (around) => {
    for (const [number, button] of [...buttons.children].entries()) {
      button.setAttribute("aria-pressed", String(scopes[number][1] === around));
    }
    await chart.load(around);
  };
  fill(buttons, scopes.map(([text, around]) => h("button", { type: "button", class: "quiet", onclick: () => choose(around) }, text)));
  const element = h("section", { class: "card timeline", "aria-label": "Timeline of the source" },
    h("div", { class: "row spread" }, h("h2", {}, "Timeline of the source"), buttons),
    chart.strip, chart.canvas, chart.readout);
  return { element, loaded: choose(null), mark: (seconds) => chart.mark(seconds) };
}

class Chart {
  #clip;
  #onseek;
  #signal;
  #data = null;
  #hover = null;
  #now = null;

  constructor(clip, onseek, signal) {
    this.#clip = clip;
    this.#onseek = onseek;
    this.#signal = signal;
    this.canvas = h("canvas", { class: "curves", role: "img" });
    this.strip = h("nav", { class: "strip", "aria-label": "Clips of this source" });
    this.readout = h("p", { class: "readout small dim", "aria-hidden": "true" });
    const on = (name, act) => this.canvas.addEventListener(name, act, { signal });
    on("pointermove", (event) => this.#point(event));
    on("pointerleave", () => { this.#hover = null; this.#tell(); this.#draw(); });
    on("click", (event) => this.#click(event));
    const watcher = new ResizeObserver(() => this.#draw());
    watcher.observe(this.canvas);
    const theme = new MutationObserver(() => this.#draw());
    theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    signal.addEventListener("abort", () => { watcher.disconnect(); theme.disconnect(); });
  }

  async load(around) {
    const bins = Math.min(2000, Math.max(100, Math.round((this.canvas.clientWidth || 800) * (devicePixelRatio || 1))));
    this.#data = await get(`/api/clip/${this.#clip.clip_id}/timeline`, { bins, around }, { signal: this.#signal });
    const { signals, clips } = this.#data;
    this.canvas.style.setProperty("height", `${signals.length * LANE_PX + 4}px`);
    this.canvas.setAttribute("aria-label", `${signals.map(({ name }) => name).join(", ")} over ${this.#length().toFixed(1)} s, ${clips.length} clips`);
    this.#fillStrip();
    this.#tell();
    this.#draw();
  }

  /** Where the player is, in seconds of the source. */
  mark(seconds) {
    this.#now = seconds;
    this.#draw();
  }

  #length() { return Math.max(1e-9, this.#data.end_s - this.#data.start_s); }

  #fillStrip() {
    const { start_s: start, end_s: end } = this.#data;
    const { clips } = this.#data;
    const shown = clips.length <= MOST_LINKS ? clips : clips.filter(({ clip_id: id }) => id === this.#clip.clip_id);
    fill(this.strip, shown.map((clip) => {
      const [from, to] = [Math.max(clip.start_s, start), Math.min(clip.end_s, end)];
      return h("a", {
        href: `/clip/${clip.clip_id}`,
        "aria-current": clip.clip_id === this.#clip.clip_id ? "true" : null,
        title: `${clip.start_s.toFixed(3)} s to ${clip.end_s.toFixed(3)} s, begins with ${clip.starts_with}, ends with ${clip.ends_with}`,
        "aria-label": `Clip from ${clip.start_s.toFixed(2)} to ${clip.end_s.toFixed(2)} seconds`,
        dataset: { start: clip.start_s, end: clip.end_s },
        style: { left: `${((from - start) / this.#length()) * 100}%`, width: `${((to - from) / this.#length()) * 100}%` },
      });
    }));
  }

  #secondsAt(event) {
    const { left, width } = this.canvas.getBoundingClientRect();
    return this.#data.start_s + ((event.clientX - left) / width) * this.#length();
  }

  #point(event) {
    if (!this.#data) return;
    this.#hover = this.#secondsAt(event);
    this.#tell();
    this.#draw();
  }

  #click(event) {
    if (!this.#data) return;
    const seconds = this.#secondsAt(event);
    const { start_s: start, end_s: end } = this.#clip;
    if (seconds >= start && seconds < end) {
      this.#onseek(seconds - start);
      return;
    }
    const other = this.#data.clips.find((clip) => seconds >= clip.start_s && seconds < clip.end_s);
    if (other) navigate(`/clip/${other.clip_id}`);
  }

  /** The values at the pointer, in words. */
  #tell() {
    if (this.#hover === null) {
      fill(this.readout, `${this.#data.start_s.toFixed(2)} s to ${this.#data.end_s.toFixed(2)} s, ${this.#data.frames} frames. Point at a curve for its values; click to go there.`);
      return;
    }
    const bin = this.#bin(this.#hover);
    fill(this.readout, h("b", {}, `${this.#hover.toFixed(3)} s`), this.#data.signals.map(({ name, unit, low, high }) => {
      let place = Math.min(bin, low.length - 1);
      while (place >= 0 && low[place] === null) place -= 1; // what was measured last holds
      if (place < 0) return h("span", {}, `${name} –`);
      const [least, most] = [low[place], high[place]];
      return h("span", {}, `${name} ${least === most ? least : `${least} to ${most}`} ${unit}`);
    }));
  }

  #bin(seconds) {
    const share = (seconds - this.#data.start_s) / this.#length();
    return Math.min(this.#data.bins - 1, Math.max(0, Math.floor(share * this.#data.bins)));
  }

  #draw() {
    const { canvas } = this;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (!this.#data || !width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, width, height);
    const style = getComputedStyle(canvas);
    const ink = (name) => style.getPropertyValue(name).trim();
    const x = (seconds) => ((seconds - this.#data.start_s) / this.#length()) * width;
    pen.fillStyle = ink("--accent-soft");
    pen.globalAlpha = 0.55;
    pen.fillRect(x(this.#clip.start_s), 0, Math.max(ratio, x(this.#clip.end_s) - x(this.#clip.start_s)), height);
    pen.globalAlpha = 1;
    for (const [lane, item] of this.#data.signals.entries()) {
      this.#drawLane(pen, item, { top: lane * LANE_PX * ratio, width, ratio, colour: ink(COLOURS[lane % COLOURS.length]), line: ink("--line"), dim: ink("--dim"), font: style.fontFamily });
    }
    this.#drawCuts(pen, x, height, ratio, ink("--dim"));
    for (const [seconds, colour] of [[this.#hover, ink("--ink")], [this.#now, ink("--bad")]]) {
      if (seconds === null) continue;
      pen.fillStyle = colour;
      pen.fillRect(x(seconds) - ratio / 2, 0, 1.5 * ratio, height);
    }
  }

  #drawLane(pen, item, { top, width, ratio, colour, line, dim, font }) {
    const { low, high, smallest, largest, name, unit } = item;
    const [floor, ceiling] = [top + LANE_PX * ratio - 2 * ratio, top + (GAP_PX + 8) * ratio];
    pen.fillStyle = line;
    pen.fillRect(0, floor, width, ratio);
    pen.font = `${11 * ratio}px ${font}`;
    pen.fillStyle = dim;
    const range = smallest === null ? "not measured" : `${short(smallest)} to ${short(largest)} ${unit}`;
    pen.fillText(name, 2 * ratio, top + 11 * ratio);
    pen.textAlign = "right";
    pen.fillText(range, width - 2 * ratio, top + 11 * ratio);
    pen.textAlign = "left";
    if (smallest === null) return;
    const bottom = Math.min(0, smallest);
    const y = (value) => floor - ((value - bottom) / Math.max(1e-9, largest - bottom)) * (floor - ceiling);
    const step = width / low.length;
    pen.fillStyle = colour;
    pen.strokeStyle = colour;
    pen.lineWidth = 1.2 * ratio;
    pen.beginPath();
    let drawn = false;
    for (let bin = 0; bin < low.length; bin += 1) {
      if (low[bin] === null) continue;
      const [upper, lower] = [y(high[bin]), y(low[bin])];
      pen.fillRect(bin * step, upper, Math.max(ratio, step), Math.max(ratio, lower - upper));
      const place = [(bin + 0.5) * step, (upper + lower) / 2];
      if (drawn) pen.lineTo(...place);
      else pen.moveTo(...place);
      drawn = true;
    }
    pen.globalAlpha = this.#data.frames < low.length ? 0.9 : 0.5;
    pen.stroke();
    pen.globalAlpha = 1;
  }

  #drawCuts(pen, x, height, ratio, colour) {
    pen.fillStyle = colour;
    const drawn = new Set();
    for (const { start_s: start, end_s: end } of this.#data.clips) {
      for (const seconds of [start, end]) {
        const place = Math.round(x(seconds));
        if (drawn.has(place)) continue;
        drawn.add(place);
        for (let y = 0; y < height; y += 6 * ratio) pen.fillRect(place, y, ratio, 3 * ratio);
      }
    }
  }
}

function short(value) {
  return Number(value.toPrecision(3)).toString();
}
