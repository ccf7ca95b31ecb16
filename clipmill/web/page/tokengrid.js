// The tokens of a clip: the ids of a window as colours, and what they decode to.

import { get, Refusal } from "./api.js";
import { fill, h, notice } from "./dom.js";
import { Stage, fetchTake } from "./take3d.js";
import { transport } from "./transport.js";

const TILE_PX = 104;
const GOLDEN = 137.508;

/** The section of all token sets of a clip; null where there are none. */
export async function tokenSection(clipId, { signal }) {
  const sets = await get(`/api/clip/${clipId}/tokens`, {}, { signal });
  if (!sets.length) return null;
  return h("section", { class: "card tokens", "aria-label": "Tokens" },
    h("h2", {}, "Tokens"), sets.map((set) => tokenSet(clipId, set, signal)));
}

function tokenSet(clipId, set, signal) {
  const body = h("div", { class: "windows" });
  const result = h("div", { class: "decoded" });
  const choice = h("select", { "aria-label": `Window of ${set.table}`, onchange: () => show(Number(choice.value)) },
    set.windows.map(({ index, start_s: start, end_s: end, frames }) =>
      h("option", { value: index }, `${index}: ${start.toFixed(2)} to ${end.toFixed(2)} s, ${frames} frames`)));
  const decode = h("button", { type: "button", onclick: () => showDecoded() }, "Decode");

  async function show(index) {
    result.replaceChildren();
    try {
      const { streams } = await get(`${address()}/${index}`, {}, { signal });
      fill(body, streams.flatMap(pictures));
    } catch (error) {
      if (error.problem === undefined) throw error;
      fill(body, notice(error));
    }
  }

  async function showDecoded() {
    decode.disabled = true;
    fill(result, h("p", { class: "dim" }, "Decoding …"));
    try {
      fill(result, await decodedPair(clipId, `${address()}/${choice.value}/decoded`, signal));
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(result, notice(error));
    } finally {
      decode.disabled = false;
    }
  }

  const address = () => `/api/clip/${clipId}/tokens/${encodeURIComponent(set.table)}`;
  show(set.windows[0].index);
  return h("div", { class: "tokenset", dataset: { table: set.table } },
    h("div", { class: "row spread" },
      h("div", {}, h("h3", {}, set.tokenizer ?? set.table), h("p", { class: "dim small mono" }, set.table)),
      h("div", { class: "row" }, choice, decode)),
    h("div", { class: "beside" }, body, result));
}

/** A picture of each level of a stream: a tile for each step in time, a square for each id. */
function pictures({ name, grid, codes, values }) {
  const levels = Math.max(1, codes.length);
  const isColour = codes.length === 0;
  const channels = isColour ? 3 : levels;
  if (grid.length < 3) return [figureOf(flatCanvas(grid, channels, values, isColour), `${name}: ${levels} levels, one row each, over ${grid[0]} steps`)];
  return Array.from({ length: isColour ? 1 : levels }, (_, level) => {
    const canvas = tiledCanvas(grid, channels, level, values, isColour);
    const text = isColour ? `${name}: first three channels` : `${name}${levels > 1 ? `, level ${level + 1}` : ""}: ${new Set(values.filter((_, n) => n % levels === level)).size} of ${codes[level]} codes`;
    return figureOf(canvas, `${text}, grid ${grid.join(" × ")}`);
  });
}

function figureOf(canvas, text) {
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", text);
  return h("figure", { class: "ids" }, h("div", { class: "scroll" }, canvas), h("figcaption", { class: "small dim" }, text));
}

/** Ids along time, a row for each level. */
function flatCanvas(grid, channels, values, isColour) {
  const steps = grid.reduce((product, n) => product * n, 1);
  const rows = isColour ? 1 : channels;
  const side = Math.max(4, Math.min(14, Math.floor(700 / steps)));
  const canvas = h("canvas", { width: steps * side, height: rows * side });
  const pen = canvas.getContext("2d");
  for (let step = 0; step < steps; step += 1) {
    for (let row = 0; row < rows; row += 1) {
      pen.fillStyle = isColour ? rgb(values, step * 3) : colourOf(values[step * channels + row]);
      pen.fillRect(step * side, row * side, side, side);
    }
  }
  canvas.dataset.grid = `${rows}x${steps}`;
  return canvas;
}

function tiledCanvas([steps, rows, columns], channels, level, values, isColour) {
  const side = Math.max(2, Math.round(TILE_PX / Math.max(rows, columns)));
  const gap = side;
  const canvas = h("canvas", { width: steps * (columns * side + gap) - gap, height: rows * side });
  const pen = canvas.getContext("2d");
  for (let step = 0; step < steps; step += 1) {
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        const place = ((step * rows + row) * columns + column) * channels;
        pen.fillStyle = isColour ? rgb(values, place) : colourOf(values[place + level]);
        pen.fillRect(step * (columns * side + gap) + column * side, row * side, side, side);
      }
    }
  }
  canvas.dataset.grid = `${steps}x${rows}x${columns}`;
  return canvas;
}

/** Neighbouring ids get hues far apart; the same id is always the same colour. */
function colourOf(id) {
  const hue = (id * GOLDEN) % 360;
  return `hsl(${hue.toFixed(1)} ${52 + (id % 3) * 12}% ${42 + (id % 5) * 6}%)`;
}

function rgb(values, place) {
  return `rgb(${values[place]} ${values[place + 1]} ${values[place + 2]})`;
}

// -- decoded ---------------------------------------------------------------------------------

async function decodedPair(clipId, address, signal) {
  const response = await fetch(address, { signal });
  if (!response.ok) throw new Refusal(response.status, await response.json());
  const buffer = await response.arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const error = `${head.error.toFixed(head.unit === "dB" ? 1 : 0)} ${head.unit}${head.unit === "dB" ? " PSNR" : " mean joint error"}`;
  const made = head.is_take
    ? await takes(clipId, head, buffer, 4 + length, signal)
    : films(head, buffer, 4 + length, signal);
  return [h("p", { class: "small", dataset: { error: head.error } }, `Decoded by ${head.model}: ${error}`), made];
}

/** Two small films side by side, drawn from pixels. */
function films(head, buffer, offset, signal) {
  const film = new PixelFilm(head, buffer, offset, signal);
  return h("div", { class: "pair" },
    h("figure", {}, film.canvases[0], h("figcaption", { class: "small dim" }, "Original, as the tokenizer sees it")),
    h("figure", {}, film.canvases[1], h("figcaption", { class: "small dim" }, "Decoded from the tokens")),
    transport(film, { label: "original and decoded" }));
}

class PixelFilm {
  #head;
  #pixels;
  #timer = 0;
  looping = true;
  playing = false;
  speed = 1;
  frame = 0;
  onchange = () => {};

  constructor(head, buffer, offset, signal) {
    const [frames, height, width] = head.shape;
    this.#head = head;
    this.frames = frames;
    this.#pixels = new Uint8Array(buffer, offset);
    this.canvases = ["Original", "Decoded"].map((name) => h("canvas", { width, height, role: "img", "aria-label": name }));
    signal?.addEventListener("abort", () => clearTimeout(this.#timer));
    this.#draw();
  }

  secondsOf(frame) { return frame / this.#head.fps; }

  play() {
    if (this.frame >= this.frames - 1) this.frame = 0;
    this.playing = true;
    this.#next();
  }

  pause() {
    this.playing = false;
    clearTimeout(this.#timer);
    this.onchange();
  }

  seek(frame) {
    this.frame = frame;
    this.#draw();
    this.onchange();
  }

  #next() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.frame === this.frames - 1 && !this.looping) { this.pause(); return; }
      this.seek((this.frame + 1) % this.frames);
      this.#next();
    }, 1000 / (this.#head.fps * this.speed));
    this.onchange();
  }

  #draw() {
    const [frames, height, width] = this.#head.shape;
    const size = height * width;
    for (const [number, canvas] of this.canvases.entries()) {
      const start = (number * frames + this.frame) * size * 3;
      const image = new ImageData(width, height);
      for (let pixel = 0; pixel < size; pixel += 1) {
        for (let channel = 0; channel < 3; channel += 1) image.data[pixel * 4 + channel] = this.#pixels[start + pixel * 3 + channel];
        image.data[pixel * 4 + 3] = 255;
      }
      canvas.getContext("2d").putImageData(image, 0, 0);
    }
  }
}

/** The decoded figure, and the original pale behind it. */
async function takes(clipId, head, buffer, offset, signal) {
  const [frames, joints] = head.shape;
  const values = new Float32Array(buffer, offset);
  const size = frames * joints * 3;
  const [original, decoded] = [values.subarray(0, size), values.subarray(size, 2 * size)];
  const known = await fetchTake(clipId, { signal });
  const take = { ...known, frames, step: 1, fps: head.fps, positions: decoded, floor: lowest(original) };
  const stage = new Stage(take, { signal, ghost: original });
  return h("div", { class: "player small" },
    h("div", { class: "screen" }, stage.canvas),
    transport(stage, { label: "decoded take" }),
    h("p", { class: "small dim" }, "Decoded from the tokens; the original is pale."));
}

function lowest(positions) {
  let least = Infinity;
  for (let place = 1; place < positions.length; place += 3) least = Math.min(least, positions[place]);
  return least;
}
