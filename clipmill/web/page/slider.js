// A histogram with a handle at either end of it: the range of a number that clips must have.

import { h, svg } from "./dom.js";
import { readable } from "./view.js";

const STEPS = 200;

/**
 * The filter of one numeric column. `chart` is {low, high, counts, below, above}; `range` has the
 * ends as texts, empty where there is none; `changed({low, high})` is called when a person lets go.
 */
export function rangeSlider(name, chart, range, changed) {
  const step = (chart.high - chart.low) / STEPS || 1;
  const whole = Number.isInteger(chart.low) && Number.isInteger(chart.high) && step >= 1;
  const toStep = (text, fallback) => (text === "" ? fallback : (Number(text) - chart.low) / step);
  const toText = (number) => {
    const value = chart.low + number * step;
    return String(whole ? Math.round(value) : Number(value.toPrecision(4)));
  };
  const handle = (end, label) => h("input", {
    type: "range", class: `handle ${end}`, min: 0, max: STEPS, step: 1,
    "aria-label": `${label} of ${name}`, dataset: { key: `${name}:slide:${end}` },
  });
  const low = handle("low", "Least");
  const high = handle("high", "Most");
  const box = (end, label) => h("input", {
    type: "text", inputmode: "decimal", class: "number", size: 7,
    "aria-label": `${label} of ${name}, exactly`, dataset: { key: `${name}:type:${end}` },
  });
  const least = box("low", "Least");
  const most = box("high", "Most");
  const bars = chart.counts.map((count, number) => bar(count, number, chart.counts));

  const paint = () => {
    const [from, to] = [Number(low.value), Number(high.value)];
    bars.forEach((item, number) => {
      const middle = ((number + 0.5) / bars.length) * STEPS;
      item.classList.toggle("out", middle < from || middle > to);
    });
    low.setAttribute("aria-valuetext", from <= 0 ? "no limit" : toText(from));
    high.setAttribute("aria-valuetext", to >= STEPS ? "no limit" : toText(to));
  };
  const set = (next) => {
    low.value = Math.max(0, Math.min(STEPS, toStep(next.low, 0)));
    high.value = Math.max(0, Math.min(STEPS, toStep(next.high, STEPS)));
    least.value = next.low;
    most.value = next.high;
    paint();
  };
  const read = () => ({ low: least.value.trim(), high: most.value.trim() });
  const slid = (moved, other, field, open) => {
    if (moved === low && Number(low.value) > Number(other.value)) low.value = other.value;
    if (moved === high && Number(high.value) < Number(other.value)) high.value = other.value;
    field.value = Number(moved.value) === open ? "" : toText(Number(moved.value));
    paint();
  };
  low.addEventListener("input", () => slid(low, high, least, 0));
  high.addEventListener("input", () => slid(high, low, most, STEPS));
  for (const input of [low, high, least, most]) {
    input.addEventListener("change", () => { set(read()); changed(read()); });
  }
  set(range);
  least.placeholder = readable(chart.low);
  most.placeholder = readable(chart.high);
  const picture = svg("svg", {
    viewBox: `0 0 ${bars.length} 30`, preserveAspectRatio: "none", "aria-hidden": "true",
  }, bars);
  return h("div", { class: "slider" },
    h("div", { class: "chart" }, picture, low, high),
    h("div", { class: "ends" }, least, most));
}

function bar(count, number, counts) {
  // Square roots, so that rare values can be seen beside common ones.
  const height = count ? Math.max(1.2, 30 * Math.sqrt(count / Math.max(...counts))) : 0;
  return svg("rect", { x: number + 0.06, y: 30 - height, width: 0.88, height });
}
