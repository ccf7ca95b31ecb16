// Plays exactly a clip's span: no frame before it, none after it.
//
// The server tells which file plays the clip, where in it the span lies and when each frame is
// shown (/api/play). The counter follows the frames that the browser really showed
// (requestVideoFrameCallback); seeking aims at the middle of a frame, where no rounding misses it.

import { get } from "./api.js";
import { h, notice } from "./dom.js";
import { transport } from "./transport.js";

const NEAR_END_S = 0.02;
const ROUNDING_S = 0.0005;

const MADE = {
  source: "The source itself, held to the clip's span.",
  copy: "The clip's coded frames in a container that browsers open.",
  encode: "Encoded for this page: browsers do not play the source's codec.",
};

/**
 * A player of a clip of video: {element, media}, or only {element} for a picture or a problem.
 * @param {string} clipId
 * @param {{signal?: AbortSignal, autoplay?: boolean, small?: boolean}} options
 */
export async function filmPlayer(clipId, { signal, autoplay = false, small = false } = {}) {
  let how;
  try {
    how = await get(`/api/play/${clipId}`, {}, { signal });
  } catch (error) {
    if (error.problem === undefined) throw error;
    return { element: notice(error) };
  }
  if (how.how === "image") {
    return { element: h("img", { class: "screen", src: how.url, alt: `Clip ${clipId}` }) };
  }
  const film = new Film(how, signal);
  const extra = how.has_sound ? [soundButton(film.video)] : [];
  const label = `clip ${clipId.slice(0, 8)}`;
  const controls = transport(film, { label, extra, tell: small ? () => "" : film.told });
  const partly = how.is_whole ? [] : [h("span", { class: "chip" }, "only its beginning")];
  const made = small ? null : h("p", { class: "dim small made", dataset: { how: how.how } }, MADE[how.how], " ", partly);
  const screen = h("div", { class: "screen" }, film.video);
  const element = h("div", { class: small ? "player small" : "player" }, screen, controls, made);
  film.video.addEventListener("error", () => screen.replaceChildren(notice({
    problem: `this browser cannot play the clip: ${film.video.error?.message || "no reason given"}`,
    hint: "open the source file in a player of films",
  })), { once: true });
  if (autoplay) film.play();
  return { element, media: film };
}

function soundButton(video) {
  const button = h("button", {
    type: "button", class: "icon quiet", "aria-label": "Sound", title: "Sound",
    onclick: () => { video.muted = !video.muted; show(); },
  });
  const show = () => {
    button.textContent = video.muted ? "🔇" : "🔊";
    button.setAttribute("aria-pressed", String(!video.muted));
  };
  show();
  return button;
}

class Film {
  #how;
  #times;
  #wanted = false;
  #speed = 1;
  #timer = 0;
  looping = true;
  frame = 0;
  onchange = () => {};

  constructor(how, signal) {
    this.#how = how;
    this.#times = frameTimes(how);
    const video = h("video", {
      src: `${how.url}#t=${middle(this.#times, 0)}`, preload: "auto", playsinline: true,
      "aria-label": "The clip",
    });
    video.muted = true;
    this.video = video;
    this.told = (frame) => this.#ticks(frame);
    video.addEventListener("click", () => (this.playing ? this.pause() : this.play()), { signal });
    video.addEventListener("ended", () => this.#end(), { signal });
    video.addEventListener("timeupdate", () => this.#check(video.currentTime), { signal });
    this.#watch(signal);
    signal?.addEventListener("abort", () => {
      clearTimeout(this.#timer);
      video.pause();
      video.removeAttribute("src");
      video.load();
    });
  }

  get frames() { return this.#times.length - 1; }
  get playing() { return this.#wanted; }
  get speed() { return this.#speed; }
  set speed(value) { this.#speed = value; this.video.playbackRate = value; }

  secondsOf(frame) { return this.#times[frame] - this.#times[0]; }

  /** The frame at so many seconds after the clip's start. */
  frameAt(seconds) { return this.#index(this.#times[0] + seconds); }

  play() {
    this.#wanted = true;
    if (this.frame >= this.frames - 1) this.seek(0);
    this.#run();
    this.onchange();
  }

  pause() {
    this.#wanted = false;
    clearTimeout(this.#timer);
    this.video.pause();
    this.onchange();
  }

  seek(frame) {
    clearTimeout(this.#timer);
    this.frame = Math.min(this.frames - 1, Math.max(0, frame));
    this.video.currentTime = middle(this.#times, this.frame);
    if (this.#wanted) this.#run();
    this.onchange();
  }

  #run() {
    // play() is refused when a pause comes before it took effect: that is no fault.
    this.video.play().catch(() => {});
  }

  #ticks(frame) {
    const { ticks, start_pts: start, first_frame: first, time_base: [num, den] } = this.#how;
    if (!ticks) return "";
    return `source frame ${first + frame}, pts ${start + ticks[frame]} × ${num}/${den} s`;
  }

  #watch(signal) {
    const { video } = this;
    const next = video.requestVideoFrameCallback
      ? (act) => video.requestVideoFrameCallback((_, { mediaTime }) => act(mediaTime))
      : (act) => requestAnimationFrame(() => act(video.currentTime));
    const shown = (seconds) => {
      if (signal?.aborted) return;
      this.#shown(seconds);
      next(shown);
    };
    next(shown);
  }

  #shown(seconds) {
    const frame = this.#index(seconds);
    if (frame !== this.frame) {
      this.frame = frame;
      this.onchange();
    }
    this.#check(seconds);
  }

  /** Stop on the last frame, before the one after the span can be shown. */
  #check(seconds) {
    if (this.video.paused || !this.#wanted) return;
    const last = this.#times[this.frames - 1];
    if (seconds < last - ROUNDING_S - NEAR_END_S * this.#speed) return;
    this.#end();
  }

  #end() {
    if (!this.#wanted) return;
    this.video.pause();
    const last = this.frames - 1;
    if (this.frame !== last || this.video.currentTime >= this.#times[last + 1]) {
      this.video.currentTime = middle(this.#times, last);
      this.frame = last;
    }
    clearTimeout(this.#timer);
    if (!this.looping) {
      this.#wanted = false;
      this.onchange();
      return;
    }
    const length = this.#times[last + 1] - this.#times[last];
    this.#timer = setTimeout(() => this.seek(0), (1000 * length) / this.#speed);
    this.onchange();
  }

  #index(seconds) {
    let low = 0;
    let high = this.frames - 1;
    while (low < high) {
      const place = Math.ceil((low + high) / 2);
      if (this.#times[place] <= seconds + ROUNDING_S) low = place;
      else high = place - 1;
    }
    return low;
  }
}

/** When each frame is shown in the file, and the end of the last one. */
function frameTimes({ ticks, time_base: [num, den], start_s: start, end_s: end, fps, frames }) {
  const times = ticks?.length
    ? ticks.map((tick) => start + (tick * num) / den)
    : Array.from({ length: Math.max(1, frames ?? Math.round((end - start) * fps)) }, (_, n) => start + n / fps);
  const inside = times.filter((time) => time < end - ROUNDING_S);
  return [...(inside.length ? inside : [start]), end];
}

function middle(times, frame) {
  return (times[frame] + times[frame + 1]) / 2;
}
