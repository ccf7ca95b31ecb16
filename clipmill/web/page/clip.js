// The page of one clip: the player, what was measured and decided, and where it comes from.

import { alikeSection } from "./alike.js";
import { bytesText, instantText, readable } from "./amounts.js";
import { address, get } from "./api.js";
import { fill, h, notice } from "./dom.js";
import { filmPlayer } from "./player.js";
import { takePlayer } from "./take3d.js";
import { timeline } from "./timeline.js";
import { tokenSection } from "./tokengrid.js";
import { press } from "./transport.js";
import { twinSection } from "./twins.js";

export async function show(container, { clip_id: id, query, signal }) {
  const facts = await get(`/api/clip/${id}`, { selection: query.get("selection") }, { signal });
  const { clip } = facts;
  const stage = h("div", { class: "stage" }, h("div", { class: "player" }, h("div", { class: "screen waiting" }, h("p", { class: "dim" }, "Getting the clip ready …"))));
  let media = null;
  const chart = timeline(clip, {
    signal,
    onseek: (seconds) => { media?.pause(); media?.seek(media.frameAt(seconds)); },
  });
  const later = h("div", { class: "later" });
  fill(container,
    heading(facts),
    h("div", { class: "columns" }, stage, h("div", { class: "aside" }, verdicts(facts, id), captions(facts))),
    chart.element,
    scores(facts),
    later,
    lineage(facts));

  const fillIn = async (made) => {
    try {
      const section = await made;
      if (section) later.append(section);
    } catch (error) {
      if (error.name !== "AbortError") later.append(notice(error));
    }
  };
  const play = async () => {
    const player = await (clip.kind === "mocap" ? takePlayer : filmPlayer)(id, { signal });
    fill(stage, player.element);
    media = player.media ?? null;
    if (!media) return;
    const shown = media.onchange;
    media.onchange = () => {
      shown();
      chart.mark(clip.start_s + media.secondsOf(media.frame));
    };
    document.addEventListener("keydown", (event) => press(media, event), { signal });
  };
  await Promise.all([
    play(),
    chart.loaded.catch((error) => { if (error.name !== "AbortError") chart.element.append(notice(error)); }),
    fillIn(twinSection(clip, { signal })),
    fillIn(alikeSection(clip, facts.embeddings, { signal })),
    fillIn(tokenSection(id, { signal })),
  ]);
}

function heading({ clip, source, verdicts: { why } }) {
  const name = (source.uri ?? source.source_id).split("/").at(-1);
  const rate = clip.fps ? ` at ${readable(clip.fps)} a second` : "";
  return h("header", { class: "heading" },
    h("h1", {}, name),
    h("p", { class: "row" },
      h("span", {}, `${clip.start_s.toFixed(3)} s to ${clip.end_s.toFixed(3)} s`),
      h("span", { class: "dim" }, `${clip.frames} frames${rate}, ${clip.duration_s.toFixed(3)} s`),
      h("span", { class: "chip" }, clip.kind),
      h("span", { class: "chip" }, `${clip.starts_with} → ${clip.ends_with}`),
      why ? verdictChip(why.kept, why.kept ? `kept${why.split ? `, ${why.split}` : ""}` : "not kept") : null,
      h("code", { class: "dim" }, clip.clip_id)));
}

function verdictChip(passed, text) {
  return h("span", { class: passed ? "chip good" : "chip bad" }, `${passed ? "✓" : "✗"} ${text}`);
}

// -- what was decided ------------------------------------------------------------------------

function verdicts({ verdicts: { why, selections, selection, problem, hint } }, id) {
  const choice = h("nav", { class: "row selections", "aria-label": "Selections" }, selections.map((name) => h("a", {
    class: "chip", href: address(`/clip/${id}`, { selection: name }), "aria-current": name === selection ? "true" : null,
  }, name)));
  const rows = (why?.verdicts ?? []).map(({ stage, gate, predicate, value, passed, reason }) =>
    h("li", { dataset: { gate, passed } },
      verdictChip(passed, passed ? "pass" : "fail"),
      h("span", {}, h("b", {}, gate), " ", h("code", { class: "dim" }, stage === "gate" ? predicate : stage)),
      h("span", { class: "number value" }, value === null ? "–" : tidy(value)),
      reason ? h("span", { class: "reason small" }, reason) : null));
  return h("section", { class: "card verdicts", "aria-label": "Verdicts" },
    h("div", { class: "row spread" }, h("h2", {}, "Verdicts"), choice),
    problem ? h("p", { class: "dim" }, problem, hint ? h("span", { class: "small" }, ` Next: ${hint}`) : null) : null,
    why ? h("p", { class: "dim" }, why.kept
      ? `Kept by ${why.judged_by} at catalog version ${why.catalog_version}.`
      : `Refused by ${why.verdicts.filter(({ passed }) => !passed).length} of ${rows.length} in ${why.judged_by}, catalog version ${why.catalog_version}.`) : null,
    rows.length ? h("ul", {}, rows) : null);
}

function captions({ captions: told, caption_checks: checked }) {
  return h("section", { class: "card captions", "aria-label": "Captions" },
    h("div", { class: "row spread" }, h("h2", {}, "Captions"),
      told.length && !checked ? h("span", { class: "chip" }, "not checked") : null),
    told.length ? null : h("p", { class: "dim" }, "There are none. clipmill caption writes some."),
    told.map(({ kind, text, origin, model, start_s: start, end_s: end, faults }) => h("figure", { class: "caption" },
      h("blockquote", {}, text || "(empty)"),
      h("figcaption", { class: "row small dim" },
        h("span", { class: "chip" }, kind), h("span", {}, `${origin}: ${model}`),
        start !== null && end !== null ? h("span", {}, `${start.toFixed(2)} to ${end.toFixed(2)} s`) : null,
        Object.entries(faults).map(([check, reason]) => h("span", { class: "chip bad", title: reason }, `⚑ ${check}: ${reason}`))))));
}

function scores({ scores: told, verdicts: { why } }) {
  const gates = why?.verdicts ?? [];
  const mentions = (predicate, name) => new RegExp(`(^|[^\\w.])"?${name.replace(/\W/g, "\\$&")}"?($|\\W)`).test(predicate);
  const groups = Map.groupBy ? Map.groupBy(told, ({ operator }) => operator) : grouped(told);
  return h("section", { class: "card scores", "aria-label": "Scores" },
    h("h2", {}, "Scores"),
    told.length ? null : h("p", { class: "dim" }, "Nothing was measured of this clip."),
    h("div", { class: "operators" }, [...groups].map(([operator, rows]) => h("div", { class: "operator" },
      h("h3", {}, operator),
      rows.map(({ name, value, unit, meaning }) => h("div", { class: "score", dataset: { score: name } },
        h("span", { class: "name" }, name),
        h("span", { class: "number value" }, tidy(value)),
        h("span", { class: "small dim meaning" }, meaning),
        h("span", { class: "small dim unit" }, unit),
        gates.filter(({ predicate }) => mentions(predicate, name)).map(({ gate, passed }) => verdictChip(passed, gate))))))));
}

function grouped(rows) {
  const groups = new Map();
  for (const row of rows) groups.set(row.operator, [...(groups.get(row.operator) ?? []), row]);
  return groups;
}

// -- where it comes from ---------------------------------------------------------------------

function lineage({ clip, source, runs, embeddings }) {
  const terms = source.license_terms ?? {};
  const picture = source.kind === "mocap"
    ? `${source.skeleton ?? "unknown"} rig, ${source.joints} joints, ${source.unit}, ${source.up_axis} up`
    : `${source.width}×${source.height}, ${source.codec}, ${source.pix_fmt}${source.rotation_deg ? `, turned ${source.rotation_deg}°` : ""}${source.hdr_transfer ? `, ${source.hdr_transfer}` : ""}`;
  const facts = [
    ["File", h("span", { class: "mono break" }, source.uri)],
    ["Container", `${source.container}, ${bytesText(source.bytes)}`],
    [source.kind === "mocap" ? "Motion" : "Picture", picture],
    ["Length", `${source.duration_s?.toFixed(3)} s, ${source.frames} frames at ${readable(source.fps)}${source.is_vfr ? ", uneven" : ""}`],
    source.audio_codec ? ["Sound", `${source.audio_codec}, ${source.audio_channels} channels, ${source.audio_rate_hz} Hz`] : null,
    source.damaged_frames ? ["Damage", h("span", { class: "warn" }, `${source.damaged_frames} frames`)] : null,
    ["sha256", h("span", { class: "mono break" }, source.sha256)],
    ["Span", h("span", { class: "mono" }, `pts ${clip.start_pts} to ${clip.end_pts} of ${clip.time_base_num}/${clip.time_base_den} s, frames ${clip.start_frame} to ${clip.end_frame}`)],
    ["Cut by", `${clip.detector}, cutting ${clip.cutting}`],
    source.collection ? ["Collection", source.collection] : null,
    embeddings.length ? ["Embeddings", embeddings.join(", ")] : null,
  ].filter(Boolean);
  return h("div", { class: "columns even" },
    h("section", { class: "card lineage", "aria-label": "Lineage" }, h("h2", {}, "Lineage"), list(facts),
      runs.map(({ verb, did, started, catalog_version: version, versions, run_id: run }) => h("details", {},
        h("summary", {}, `${verb} ${did}, ${instantText(started)}`),
        list([["Run", h("span", { class: "mono break" }, run)], ["From catalog version", String(version)],
          ...Object.entries(versions ?? {})])))),
    h("section", { class: "card licence", "aria-label": "Licence" }, h("h2", {}, "Licence"),
      h("p", { class: "break" }, source.license ?? "No licence was recorded."),
      h("p", { class: "row" }, ["redistribute", "commercial", "derive"].map((use) => {
        const said = terms[use] ?? "unknown";
        return h("span", { class: `chip ${{ yes: "good", no: "bad" }[said] ?? ""}` }, `${use}: ${said}`);
      })),
      source.meta ? h("details", {}, h("summary", {}, "Metadata"), h("pre", { class: "scroll small" }, JSON.stringify(source.meta, null, 2))) : null));
}

function list(pairs) {
  return h("dl", { class: "facts" }, pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value ?? "–")]));
}

// -- words -----------------------------------------------------------------------------------

function tidy(value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return readable(value);
  if (typeof value === "string" && /^-?\d*\.?\d+(e[-+]?\d+)?$/i.test(value)) return readable(Number(value));
  if (Array.isArray(value)) return value.map(tidy).join(", ");
  if (typeof value === "object" && value !== null) return JSON.stringify(value);
  return String(value ?? "–").replace(/=(-?\d+\.\d+(?:e-?\d+)?)/g, (_, number) => `=${readable(Number(number))}`);
}
