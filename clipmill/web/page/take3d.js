// A take as a stick figure in space, on a canvas: orbited, zoomed, scrubbed and played.
//
// The joints come in metres with y up, right-handed (/api/take). The camera turns around a point
// that follows the body; what is nearer is drawn later and thicker.

import { Refusal } from "./api.js";
import { h, notice } from "./dom.js";
import { transport } from "./transport.js";

const FIELD = 1.15;
/** Picture height over distance at which it is seen: a moderate tele lens. */
const TILE_M = 0.5;
const FOLLOW_S = 0.4;
const START = { yaw: 0.65, pitch: 0.28 };
const MOST_PITCH = 1.5;
const BONE_M = 0.034;
const HEAD_M = 0.1;

/** The answer of /api/take: a head and the positions as one Float32Array. */
export function readTake(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { ...head, positions: new Float32Array(buffer, 4 + length) };
}

export async function fetchTake(clipId, { signal } = {}) {
  const response = await fetch(`/api/take/${clipId}`, { signal });
  if (!response.ok) throw new Refusal(response.status, await response.json());
  return readTake(await response.arrayBuffer());
}

/**
 * A player of a clip of a take: {element, media, take}, or only {element} for a problem.
 * @param {string} clipId
 * @param {{signal?: AbortSignal, autoplay?: boolean, small?: boolean}} options
 */
export async function takePlayer(clipId, { signal, autoplay = false, small = false } = {}) {
  let take;
  try {
    take = await fetchTake(clipId, { signal });
  } catch (error) {
    if (error.problem === undefined) throw error;
    return { element: notice(error) };
  }
  const stage = new Stage(take, { signal });
  const label = `take ${clipId.slice(0, 8)}`;
  const controls = transport(stage, { label, extra: [viewButton(stage)] });
  const thinned = take.step > 1 ? `, every ${take.step}th frame` : "";
  const told = small ? null : h("p", { class: "dim small" },
    `${take.names.length} joints from the ${take.origin}${thinned}. Drag or use the arrow keys to turn, wheel or + and − to zoom.`);
  const element = h("div", { class: small ? "player small" : "player" },
    h("div", { class: "screen" }, stage.canvas), controls, told);
  if (autoplay) stage.play();
  return { element, media: stage, take };
}

function viewButton(stage) {
  return h("button", { type: "button", class: "quiet", title: "View from the front left again (0)", onclick: () => stage.reset() }, "Reset view");
}

/** Figures on a floor. `ghost` holds positions of the same joints that are drawn beside, pale. */
export class Stage {
  #take;
  #ghost;
  #path;
  #centre;
  #height;
  #timer = 0;
  #began = 0;
  #from = 0;
  #speed = 1;
  #playing = false;
  #pending = false;
  looping = true;
  frame = 0;
  onchange = () => {};

  constructor(take, { signal, ghost = null } = {}) {
    this.#take = take;
    this.#ghost = ghost;
    this.#path = rootPath(take);
    this.#centre = smooth(this.#path, take.fps / take.step);
    this.#height = tallest(take);
    this.canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": "The take as a stick figure; arrow keys turn it" });
    this.reset();
    this.#listen(signal);
    const watcher = new ResizeObserver(() => this.draw());
    watcher.observe(this.canvas);
    const theme = new MutationObserver(() => this.draw());
    theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => this.draw(), { signal });
    signal?.addEventListener("abort", () => {
      cancelAnimationFrame(this.#timer);
      watcher.disconnect();
      theme.disconnect();
    });
  }

  get frames() { return this.#take.frames; }
  get playing() { return this.#playing; }
  get speed() { return this.#speed; }
  set speed(value) { this.#restart(() => { this.#speed = value; }); }

  secondsOf(frame) { return (frame * this.#take.step) / this.#take.fps; }

  frameAt(seconds) {
    return Math.min(this.frames - 1, Math.max(0, Math.floor((seconds * this.#take.fps) / this.#take.step + 1e-6)));
  }

  play() {
    if (this.frame >= this.frames - 1) this.frame = 0;
    this.#restart(() => { this.#playing = true; });
    this.onchange();
  }

  pause() {
    this.#playing = false;
    cancelAnimationFrame(this.#timer);
    this.onchange();
  }

  seek(frame) {
    this.#restart(() => { this.frame = Math.min(this.frames - 1, Math.max(0, frame)); });
    this.#show();
  }

  reset() {
    Object.assign(this, { yaw: START.yaw, pitch: START.pitch, zoom: 1 });
    this.draw();
  }

  orbit(yaw, pitch) {
    this.yaw += yaw;
    this.pitch = Math.min(MOST_PITCH, Math.max(-0.2, this.pitch + pitch));
    this.draw();
  }

  approach(factor) {
    this.zoom = Math.min(8, Math.max(0.2, this.zoom * factor));
    this.draw();
  }

  /** Change what playing depends on, and go on from here. */
  #restart(change) {
    change();
    cancelAnimationFrame(this.#timer);
    if (!this.#playing) return;
    this.#from = this.frame;
    this.#began = performance.now();
    const tick = (now) => {
      const passed = ((now - this.#began) / 1000) * this.#speed * (this.#take.fps / this.#take.step);
      const frame = this.#from + Math.max(0, Math.floor(passed));
      if (frame >= this.frames && !this.looping) {
        this.frame = this.frames - 1;
        this.pause();
        this.#show();
        return;
      }
      this.frame = frame % this.frames;
      this.#show();
      this.#timer = requestAnimationFrame(tick);
    };
    this.#timer = requestAnimationFrame(tick);
  }

  #show() {
    this.draw();
    this.onchange();
  }

  // -- hands --------------------------------------------------------------------------------

  #listen(signal) {
    const held = new Map();
    const spread = () => {
      const [a, b] = [...held.values()];
      return Math.hypot(a.x - b.x, a.y - b.y);
    };
    const on = (name, act, options = {}) => this.canvas.addEventListener(name, act, { signal, ...options });
    on("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      held.set(event.pointerId, { x: event.clientX, y: event.clientY });
    });
    on("pointermove", (event) => {
      const before = held.get(event.pointerId);
      if (!before) return;
      const gap = held.size === 2 ? spread() : 0;
      held.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (held.size === 2) this.approach(spread() / Math.max(1, gap));
      else this.orbit(-(event.clientX - before.x) * 0.01, (event.clientY - before.y) * 0.01);
    });
    for (const name of ["pointerup", "pointercancel"]) on(name, (event) => held.delete(event.pointerId));
    on("wheel", (event) => {
      event.preventDefault();
      this.approach(Math.exp(-event.deltaY * 0.0015));
    }, { passive: false });
    on("keydown", (event) => this.#press(event));
  }

  #press(event) {
    const actions = {
      ArrowLeft: () => this.orbit(-0.12, 0),
      ArrowRight: () => this.orbit(0.12, 0),
      ArrowUp: () => this.orbit(0, 0.08),
      ArrowDown: () => this.orbit(0, -0.08),
      "+": () => this.approach(1.15),
      "=": () => this.approach(1.15),
      "-": () => this.approach(1 / 1.15),
      0: () => this.reset(),
    };
    const act = actions[event.key];
    if (!act || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  // -- drawing ------------------------------------------------------------------------------

  /** Draw before the next picture of the screen, once for however many changes. */
  draw() {
    if (this.#pending) return;
    this.#pending = true;
    requestAnimationFrame(() => {
      this.#pending = false;
      this.#paint();
    });
  }

  #paint() {
    const { canvas } = this;
    const ratio = devicePixelRatio || 1;
    const { clientWidth, clientHeight } = canvas;
    const [width, height] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, width, height);
    const [x, z] = this.#centre[this.frame];
    const view = lens({
      target: [x, this.#take.floor + this.#height / 2, z],
      yaw: this.yaw,
      pitch: this.pitch,
      span: Math.max(this.#height, 1) * 1.55 / this.zoom,
      width,
      height,
    });
    const ink = colours(canvas);
    drawFloor(pen, view, this.#take.floor, [x, z], ink);
    drawTrail(pen, view, this.#path, this.frame, this.#take.floor, ink);
    if (this.#ghost) drawFigure(pen, view, { ...this.#take, positions: this.#ghost }, this.frame, ink, true);
    drawFigure(pen, view, this.#take, this.frame, ink, false);
  }
}

/** A perspective view: world points to {x, y, scale, depth} in pixels of the canvas. */
function lens({ target, yaw, pitch, span, width, height }) {
  const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  const away = span / FIELD * 2.2;
  const focus = Math.min(width, height) / span * away;
  return (x, y, z) => {
    const [dx, dy, dz] = [x - target[0], y - target[1], z - target[2]];
    const across = dx * cy - dz * sy;
    const towards = dx * sy + dz * cy;
    const up = dy * cp - towards * sp;
    const depth = Math.max(0.05, away - (towards * cp + dy * sp));
    const scale = focus / depth;
    return { x: width / 2 + across * scale, y: height / 2 - up * scale, scale, depth };
  };
}

function colours(canvas) {
  const style = getComputedStyle(canvas);
  const of = (name) => style.getPropertyValue(name).trim();
  return { m: of("--ink"), l: of("--left"), r: of("--right"), line: of("--line"), dim: of("--dim"), accent: of("--accent"), panel: of("--panel") };
}

function drawFloor(pen, view, floor, [x, z], ink) {
  const reach = 8;
  const [firstX, firstZ] = [Math.round(x / TILE_M), Math.round(z / TILE_M)];
  pen.strokeStyle = ink.line;
  for (let n = -reach; n <= reach; n += 1) {
    const fade = 1 - Math.abs(n) / (reach + 1);
    const whole = (axis) => (axis + n) % 2 === 0;
    for (const [heavy, a, b] of [
      [whole(firstX), [firstX + n, firstZ - reach], [firstX + n, firstZ + reach]],
      [whole(firstZ), [firstX - reach, firstZ + n], [firstX + reach, firstZ + n]],
    ]) {
      const [from, to] = [view(a[0] * TILE_M, floor, a[1] * TILE_M), view(b[0] * TILE_M, floor, b[1] * TILE_M)];
      pen.globalAlpha = fade * (heavy ? 1 : 0.45);
      pen.lineWidth = devicePixelRatio || 1;
      line(pen, from, to);
    }
  }
  pen.globalAlpha = 1;
}

function drawTrail(pen, view, path, frame, floor, ink) {
  const stroke = (from, to, alpha) => {
    pen.beginPath();
    for (let n = from; n <= to; n += 1) {
      const { x, y } = view(path[n][0], floor, path[n][1]);
      if (n === from) pen.moveTo(x, y);
      else pen.lineTo(x, y);
    }
    pen.globalAlpha = alpha;
    pen.stroke();
  };
  pen.strokeStyle = ink.accent;
  pen.lineWidth = 2 * (devicePixelRatio || 1);
  pen.lineJoin = "round";
  stroke(frame, path.length - 1, 0.25);
  stroke(0, frame, 0.9);
  pen.globalAlpha = 1;
}

function drawFigure(pen, view, take, frame, ink, pale) {
  const { names, parents, sides, positions, floor } = take;
  const at = (joint) => {
    const place = (frame * names.length + joint) * 3;
    return [positions[place], positions[place + 1], positions[place + 2]];
  };
  const bones = [];
  for (let joint = 0; joint < names.length; joint += 1) {
    const end = at(joint);
    if (!end.every(Number.isFinite)) continue;
    const start = parents[joint] < 0 ? end : at(parents[joint]);
    if (!start.every(Number.isFinite)) continue;
    bones.push({ start, end, side: sides[joint], from: view(...start), to: view(...end) });
  }
  pen.lineCap = "round";
  if (!pale) drawShadow(pen, view, bones, floor, ink);
  bones.sort((a, b) => b.from.depth + b.to.depth - a.from.depth - a.to.depth);
  const head = names.findIndex((name) => /head$/i.test(name));
  pen.globalAlpha = pale ? 0.4 : 1;
  for (const { from, to, side } of bones) {
    const width = Math.max(1.5, BONE_M * (from.scale + to.scale) / 2);
    if (!pale) {
      pen.strokeStyle = ink.panel;
      pen.lineWidth = width * 1.6;
      line(pen, from, to);
    }
    pen.strokeStyle = pale ? ink.dim : ink[side];
    pen.lineWidth = width;
    line(pen, from, to);
  }
  if (head >= 0 && at(head).every(Number.isFinite)) {
    const { x, y, scale } = view(...at(head));
    pen.fillStyle = pale ? ink.dim : ink.m;
    pen.beginPath();
    pen.arc(x, y - HEAD_M * 0.5 * scale, HEAD_M * scale, 0, 2 * Math.PI);
    pen.fill();
  }
  pen.globalAlpha = 1;
}

function drawShadow(pen, view, bones, floor, ink) {
  pen.strokeStyle = ink.dim;
  pen.globalAlpha = 0.22;
  for (const { start, end } of bones) {
    const [from, to] = [view(start[0], floor, start[2]), view(end[0], floor, end[2])];
    pen.lineWidth = Math.max(1, BONE_M * from.scale);
    line(pen, from, to);
  }
  pen.globalAlpha = 1;
}

/** A line; a dot where both ends are one point, as for markers without bones. */
function line(pen, from, to) {
  pen.beginPath();
  if (from.x === to.x && from.y === to.y) {
    pen.arc(from.x, from.y, pen.lineWidth / 4, 0, 2 * Math.PI);
    pen.stroke();
    return;
  }
  pen.moveTo(from.x, from.y);
  pen.lineTo(to.x, to.y);
  pen.stroke();
}

// -- what is the same in all frames ----------------------------------------------------------

/** Where the root is over the floor, frame by frame; gaps keep the place before. */
function rootPath({ frames, names, parents, positions }) {
  const path = [];
  const hasRoot = parents.some((parent) => parent >= 0);
  let last = [0, 0];
  for (let frame = 0; frame < frames; frame += 1) {
    const [x, , z] = middleOf(positions, frame, names.length, hasRoot);
    if (Number.isFinite(x)) last = [x, z];
    path.push(last);
  }
  return path;
}

/** The root where there is one and it was seen, else the middle of the joints that were. */
function middleOf(positions, frame, joints, hasRoot) {
  const base = frame * joints * 3;
  const root = [positions[base], positions[base + 1], positions[base + 2]];
  if (hasRoot && root.every(Number.isFinite)) return root;
  const sum = [0, 0, 0];
  let seen = 0;
  for (let joint = 0; joint < joints; joint += 1) {
    const place = base + joint * 3;
    if (!Number.isFinite(positions[place])) continue;
    seen += 1;
    for (let axis = 0; axis < 3; axis += 1) sum[axis] += positions[place + axis];
  }
  return sum.map((value) => value / seen);
}

/** A path without its jitter: the mean over a moment before and after. */
function smooth(path, fps) {
  const reach = Math.max(1, Math.round((FOLLOW_S * fps) / 2));
  const sums = [[0, 0]];
  for (const [x, z] of path) sums.push([sums.at(-1)[0] + x, sums.at(-1)[1] + z]);
  return path.map((_, n) => {
    const [low, high] = [Math.max(0, n - reach), Math.min(path.length, n + reach + 1)];
    return [0, 1].map((axis) => (sums[high][axis] - sums[low][axis]) / (high - low));
  });
}

function tallest({ positions, floor }) {
  let most = 0;
  for (let place = 1; place < positions.length; place += 3) {
    if (positions[place] > most) most = positions[place];
  }
  return Math.max(0.5, most - floor);
}
