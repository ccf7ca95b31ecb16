// Sources with what came of them, and what could not be used, by reason.

import { address, get } from "./api.js";
import { bytesText, instantText, lengthText, readable } from "./amounts.js";
import { fill, h } from "./dom.js";

const PAGE = 100;

export async function show(container, { query, signal }) {
  const state = {
    text: query.get("text") ?? "", kind: query.get("kind") ?? "",
    stage: query.get("stage") ?? "", reason: query.get("reason") ?? "",
  };
  const list = h("div", {});
  const broken = h("div", {});
  const kinds = h("div", { class: "tiles" });
  const remember = () => history.replaceState({}, "", address("/sources", state));

  const showSources = async (from = 0) => {
    remember();
    const found = await get("/api/sources", { ...state, from, limit: PAGE }, { signal });
    const all = Object.values(found.kinds).reduce((a, b) => a + b, 0);
    fill(kinds,
      tile(all, "sources", state.kind === "", () => { state.kind = ""; showSources(); }),
      Object.entries(found.kinds).map(([kind, count]) =>
        tile(count, kind, state.kind === kind, () => { state.kind = kind; showSources(); })));
    fill(list, sourceTable(found.sources), pager(found, PAGE, showSources, "sources"));
  };

  const showBroken = async (from = 0) => {
    remember();
    const { stage, reason } = state;
    const found = await get("/api/quarantine", { stage, reason, from, limit: PAGE }, { signal });
    if (!found.reasons.length) {
      fill(broken, h("p", { class: "dim" }, "Every file could be used."));
      return;
    }
    const all = found.reasons.reduce((sum, item) => sum + item.files, 0);
    fill(broken,
      h("div", { class: "tiles", role: "group", "aria-label": "Reasons" },
        tile(all, "all reasons", reason === "", () => { state.stage = state.reason = ""; showBroken(); }),
        found.reasons.map((item) => tile(
          item.files, `${item.reason} at ${item.stage}`,
          item.reason === reason && item.stage === stage,
          () => { state.stage = item.stage; state.reason = item.reason; showBroken(); }))),
      brokenTable(found.files), pager(found, PAGE, showBroken, "files"));
  };

  let timer = 0;
  const search = h("input", {
    type: "search", placeholder: "part of a name or folder", value: state.text, size: 28,
    "aria-label": "Sources whose address holds",
    oninput: (event) => {
      state.text = event.target.value;
      clearTimeout(timer);
      timer = setTimeout(showSources, 200);
    },
  });
  fill(container,
    h("div", { class: "page-head" }, h("h1", {}, "Sources"), search),
    kinds, list,
    h("div", { class: "page-head", id: "quarantine" }, h("h1", {}, "Quarantine"),
      h("span", { class: "dim" }, "files that could not be used, each with its reason")),
    broken);
  await Promise.all([showSources(), showBroken()]);
  return () => clearTimeout(timer);
}

function tile(count, name, chosen, choose) {
  return h("button", {
    type: "button", class: "tile", "aria-pressed": String(chosen), onclick: choose,
  }, h("span", {}, h("b", {}, readable(count)), h("span", { class: "dim" }, name)));
}

function sourceTable(sources) {
  if (!sources.length) return h("p", { class: "dim" }, "No source is like that.");
  const head = ["source", "clips", "length", "format", "picture", "sound", "size", "licence", "state"];
  return h("div", { class: "scroll list" }, h("table", {},
    h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, sources.map((source) => h("tr", { dataset: { source: source.source_id } },
      h("td", { class: "path", title: source.uri }, source.name,
        source.collection ? h("span", { class: "dim small" }, ` ${source.collection}`) : null),
      h("td", { class: "number" }, source.clips
        ? h("a", { href: address("/", { where: `source_id = '${source.source_id}'` }) }, readable(source.clips))
        : "0"),
      h("td", { class: "number" }, source.duration_s === null ? "–" : lengthText(source.duration_s / 3600)),
      h("td", {}, [source.container, source.codec].filter(Boolean).join(" / ")),
      h("td", {}, picture(source)),
      h("td", {}, source.audio_codec ?? "–"),
      h("td", { class: "number" }, bytesText(source.bytes)),
      h("td", {}, source.license ?? h("span", { class: "warn" }, "none")),
      h("td", {}, states(source)))))));
}

function picture(source) {
  if (source.kind === "mocap") return `${readable(source.joints)} joints, ${readable(source.fps)} fps`;
  return source.width ? `${source.width} × ${source.height}, ${readable(source.fps)} fps` : "–";
}

function states({ damaged_frames, is_vfr }) {
  const found = [];
  if (damaged_frames) found.push(h("span", { class: "chip bad" }, `${readable(damaged_frames)} damaged frames`));
  if (is_vfr) found.push(h("span", { class: "chip" }, "uneven times"));
  return found.length ? found : h("span", { class: "dim" }, "sound");
}

function brokenTable(files) {
  return h("div", { class: "scroll list" }, h("table", {},
    h("thead", {}, h("tr", {}, ["file", "reason", "in words", "size", "when"]
      .map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, files.map((file) => h("tr", { dataset: { broken: file.name } },
      h("td", { class: "path", title: file.uri }, file.name),
      h("td", {}, h("span", { class: "chip bad" }, file.reason), " ",
        h("span", { class: "dim small" }, `at ${file.stage}${file.signal ? `, ${file.signal}` : ""}`)),
      h("td", { class: "wide-words" }, file.detail ?? ""),
      h("td", { class: "number" }, bytesText(file.bytes)),
      h("td", { class: "dim" }, instantText(file.created), file.host ? ` on ${file.host}` : ""))))));
}

function pager({ total, from }, page, turn, what) {
  if (total <= page) return null;
  const last = Math.min(total, from + page);
  return h("div", { class: "row" },
    h("button", { type: "button", disabled: from === 0, onclick: () => turn(Math.max(0, from - page)) }, "Before"),
    h("span", { class: "dim" }, `${readable(from + 1)} to ${readable(last)} of ${readable(total)} ${what}`),
    h("button", { type: "button", disabled: last >= total, onclick: () => turn(from + page) }, "Next"));
}
