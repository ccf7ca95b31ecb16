// What stands below anything that has frames: play, step, scrub, loop, speed, and where it is.
//
// `media` has: frames (how many), frame (the one that is shown), playing, speed, looping,
// secondsOf(frame), play(), pause(), seek(frame), and onchange, which is set here and which it calls
// whenever one of these has changed.

import { fill, h } from "./dom.js";

const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];

export function transport(media, { label, extra = [], tell = () => "" }) {
  const play = h("button", { type: "button", class: "icon play", onclick: () => toggle(media) });
  const scrub = h("input", {
    type: "range", min: 0, max: Math.max(0, media.frames - 1), step: 1, value: 0,
    "aria-label": `Frame of ${label}`,
    oninput: () => {
      const frame = Number(scrub.value);
      media.pause();
      media.seek(frame);
    },
  });
  const loop = h("button", {
    type: "button", class: "icon quiet", title: "Repeat (L)", "aria-label": "Repeat",
    onclick: () => { media.looping = !media.looping; show(); },
  }, "↻");
  const speed = h("select", {
    "aria-label": "Speed", title: "Speed ([ and ])",
    onchange: () => { media.speed = Number(speed.value); },
  }, SPEEDS.map((value) => h("option", { value, selected: value === 1 }, `${value}×`)));
  const counter = h("output", { class: "counter" });
  const told = h("span", { class: "told small dim" });

  function show() {
    fill(play, media.playing ? "❚❚" : "▶");
    play.setAttribute("aria-label", media.playing ? "Pause" : "Play");
    play.title = `${media.playing ? "Pause" : "Play"} (space)`;
    loop.setAttribute("aria-pressed", String(media.looping));
    scrub.value = media.frame;
    scrub.setAttribute("aria-valuetext", `frame ${media.frame} of ${media.frames}`);
    speed.value = media.speed;
    const seconds = media.secondsOf(media.frame).toFixed(3);
    fill(counter, h("b", {}, String(media.frame)), h("span", { class: "dim" }, ` / ${media.frames}`),
      h("span", { class: "seconds" }, `${seconds} s`));
    told.textContent = tell(media.frame);
  }

  media.onchange = show;
  show();
  return h("div", { class: "transport", role: "group", "aria-label": `Controls of ${label}` },
    scrub, play,
    h("button", { type: "button", class: "icon quiet", title: "Frame before (,)", "aria-label": "Frame before", onclick: () => step(media, -1) }, "‹"),
    h("button", { type: "button", class: "icon quiet", title: "Next frame (.)", "aria-label": "Next frame", onclick: () => step(media, 1) }, "›"),
    counter, loop, speed, extra, told);
}

export function toggle(media) {
  if (media.playing) media.pause();
  else media.play();
}

export function step(media, by) {
  media.pause();
  media.seek(Math.min(media.frames - 1, Math.max(0, media.frame + by)));
}

/** Handle a key; true when it was one of ours. */
export function press(media, event) {
  const typing = event.target.closest?.("input:not([type=range]), textarea, select");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return false;
  if (event.key === " " && event.target.closest?.("button, a, summary")) return false;
  const place = SPEEDS.indexOf(media.speed);
  const actions = {
    " ": () => toggle(media),
    ",": () => step(media, -1),
    ".": () => step(media, 1),
    Home: () => media.seek(0),
    End: () => media.seek(media.frames - 1),
    l: () => { media.looping = !media.looping; },
    "[": () => { media.speed = SPEEDS[Math.max(0, place - 1)]; },
    "]": () => { media.speed = SPEEDS[Math.min(SPEEDS.length - 1, place + 1)]; },
  };
  const act = actions[event.key];
  if (!act) return false;
  event.preventDefault();
  act();
  media.onchange();
  return true;
}
