// Clips that show the same as one clip, side by side, with the spans that they share.

import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { filmPlayer } from "./player.js";
import { takePlayer } from "./take3d.js";

/** The section of a clip's twins; null where a search found none. */
export async function twinSection(clip, { signal }) {
  const { searched, twins } = await get(`/api/clip/${clip.clip_id}/twins`, {}, { signal });
  if (searched && !twins.length) return null;
  return h("section", { class: "card twins", "aria-label": "Twins" },
    h("h2", {}, "Twins"),
    searched ? null : h("p", { class: "dim" }, "Nobody has searched this catalog for duplicates yet: clipmill dups CATALOG does."),
    twins.map((twin) => twinRow(clip, twin, signal)));
}

function twinRow(clip, twin, signal) {
  const { other } = twin;
  const name = (other.uri ?? other.source_id).split("/").at(-1);
  const traits = [twin.kind, twin.mirrored ? "mirrored" : null, twin.turned_deg ? `turned ${twin.turned_deg}°` : null].filter(Boolean);
  const pair = h("div", { class: "pair" }, [clip, other].map((one) => h("img", {
    class: "poster", src: `/api/storyboard/${one.clip_id}`, alt: "", loading: "lazy",
    onerror: (event) => event.target.remove(),
  })));
  const compare = h("button", { type: "button", onclick: async () => {
    compare.disabled = true;
    const open = other.kind === "mocap" ? takePlayer : filmPlayer;
    const players = await Promise.all([clip.clip_id, other.clip_id].map((id) => open(id, { signal, small: true })));
    fill(pair, players.map(({ element }) => element));
    const [here, there] = players.map(({ media }) => media);
    if (!here || !there) return;
    const starts = [twin.start_s - clip.start_s, twin.other_start_s - other.start_s];
    [here, there].forEach((media, number) => { media.seek(media.frameAt(starts[number])); media.play(); });
  } }, "Play side by side");
  return h("article", { class: "twin", dataset: { clip: other.clip_id } },
    h("div", { class: "row spread" },
      h("div", {}, h("a", { href: `/clip/${other.clip_id}` }, name),
        h("span", { class: "dim" }, ` ${other.start_s.toFixed(3)} s to ${other.end_s.toFixed(3)} s`)),
      h("div", { class: "row" }, h("span", { class: "chip" }, traits.join(", ")),
        h("b", {}, `score ${twin.score.toFixed(2)}`), compare)),
    overlap("this clip", clip.start_s, clip.end_s, twin.start_s, twin.end_s),
    overlap("the twin", other.start_s, other.end_s, twin.other_start_s, twin.other_end_s),
    pair);
}

/** A bar for a clip, with the part that both show. */
function overlap(label, start, end, from, to) {
  const share = (seconds) => `${((seconds - start) / Math.max(1e-9, end - start)) * 100}%`;
  const text = `${from.toFixed(3)} s to ${to.toFixed(3)} s`;
  return h("div", { class: "overlap" }, h("span", { class: "small dim" }, label),
    h("div", { class: "track", role: "img", "aria-label": `${label} shows the same from ${text}` },
      h("span", { class: "shared", dataset: { from, to }, style: { left: share(from), width: `calc(${share(to)} - ${share(from)})` } })),
    h("span", { class: "small dim" }, text));
}
