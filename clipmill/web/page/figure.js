// A clip as a small picture with its name, for pages that show a few clips beside numbers.

import { h } from "./dom.js";
import { spanText } from "./view.js";

/** A clip ({clip_id, kind, name, start_s, end_s}) that leads to its page; `note` stands below. */
export function clipFigure(clip, note) {
  const picture = h("img", {
    src: `/api/bench/picture/${clip.clip_id}`, alt: "", loading: "lazy",
    onerror: () => { picture.hidden = true; },
  });
  return h("a", {
    class: `clip-figure ${clip.kind === "mocap" ? "take" : ""}`, href: `/clip/${clip.clip_id}`,
    dataset: { clip: clip.clip_id },
  },
  h("span", { class: "picture" }, picture),
  h("span", { class: "name" }, clip.name),
  h("span", { class: "dim small" }, spanText(clip.start_s, clip.end_s)),
  note === undefined ? null : h("b", { class: "small" }, note));
}
