// Clips whose embeddings are like those of one clip.

import { address, get } from "./api.js";
import { h } from "./dom.js";
import { spanText } from "./view.js";

const SHOWN = 6;

/** The section of the clips that are most like a clip; null where it has no embedding. */
export async function alikeSection(clip, embeddings, { signal }) {
  if (!embeddings.length) return null;
  const { clips } = await get("/api/clips", { like: clip.clip_id, limit: SHOWN + 1 }, { signal });
  const others = clips.filter(({ clip_id: id }) => id !== clip.clip_id).slice(0, SHOWN);
  if (!others.length) return null;
  return h("section", { class: "card alike", "aria-label": "Alike" },
    h("div", { class: "row spread" }, h("h2", {}, "Alike"),
      h("a", { href: address("/", { like: clip.clip_id }) }, "all, in order of likeness")),
    h("p", { class: "dim small" }, `Nearest first, by ${embeddings.join(", ")}.`),
    h("div", { class: "figures" }, others.map(figure)));
}

function figure({ clip_id: id, name, kind, start_s: start, end_s: end }) {
  const picture = h("img", { src: `/api/storyboard/${id}`, alt: "", loading: "lazy", onerror: () => { picture.hidden = true; } });
  return h("a", { class: `clip-figure ${kind === "mocap" ? "take" : ""}`, href: `/clip/${id}`, dataset: { clip: id } },
    h("span", { class: "picture" }, picture), h("span", { class: "name" }, name),
    h("span", { class: "dim small" }, spanText(start, end)));
}
