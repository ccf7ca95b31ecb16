// What was run, and what runs now: asked for every two seconds while the page is seen.

import { get } from "./api.js";
import { durationText, instantText, readable } from "./amounts.js";
import { announce, fill, h } from "./dom.js";
import { clipFigure } from "./figure.js";

const EVERY_MS = 2000;

export async function show(container, { signal }) {
  const now = h("div", {});
  const ended = h("div", {});
  fill(container,
    h("div", { class: "page-head" }, h("h1", {}, "Runs")),
    now, ended);
  let version = null;
  let timer = 0;

  const look = async () => {
    try {
      const found = await get("/api/runs/live", {}, { signal });
      fill(now, found.live.map(liveCard));
      if (found.version !== version) {
        version = found.version;
        const { runs } = await get("/api/runs", {}, { signal });
        showEnded(ended, runs);
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.problem === undefined) throw error;
      announce(error.problem);
    }
    if (!signal.aborted) timer = setTimeout(next, EVERY_MS);
  };
  const next = () => {
    if (document.hidden) document.addEventListener("visibilitychange", next, { once: true, signal });
    else look();
  };
  await look();
  return () => clearTimeout(timer);
}

function liveCard(run) {
  const counts = Object.entries(run.counts).map(([what, count]) => `${readable(count)} ${what}`);
  const state = run.is_silent
    ? h("span", { class: "chip bad" }, `silent for ${durationText(run.silent_s)}`)
    : h("span", { class: "pulse", "aria-hidden": "true" });
  return h("section", { class: "card live", dataset: { live: run.run_id } },
    h("h2", {}, state, run.is_silent ? "A run that has not ended" : "Running now",
      h("span", { class: "dim mono small" }, run.run_id.slice(0, 12))),
    h("p", {}, h("b", {}, counts.join(", ")),
      run.rate ? `, ${run.rate}` : "",
      `; first results ${instantText(run.first)}`),
    run.is_silent
      ? h("p", { class: "dim" }, "It was killed, or one file takes long. The same command again goes on from here.")
      : null,
    run.clips.length ? h("h3", {}, "Last clips") : null,
    h("div", { class: "strip" }, run.clips.map((clip) => clipFigure(clip))));
}

function showEnded(element, runs) {
  if (!runs.length) {
    fill(element, h("p", { class: "dim" }, "Nothing was run yet."));
    return;
  }
  const open = new Set([...element.querySelectorAll("details[open]")].map((item) => item.dataset.run));
  fill(element, h("div", { class: "list" }, runs.map((run) => runRow(run, open.has(run.run_id)))));
}

function runRow(run, open) {
  const kind = { done: "good", failed: "bad" }[run.status] ?? "";
  return h("details", { class: "run", open, dataset: { run: run.run_id } },
    h("summary", {},
      h("b", {}, run.verb),
      h("span", {}, run.name ?? ""),
      h("span", { class: `chip ${kind}` }, run.status),
      h("span", { class: "dim" }, instantText(run.started)),
      h("span", { class: "number" }, durationText(run.seconds)),
      h("span", { class: "number" }, run.rate)),
    h("div", {},
      h("div", {}, h("h3", {}, "What came out"), facts(run.counts)),
      Object.keys(run.timings).length
        ? h("div", {}, h("h3", {}, "Seconds of workers by stage"), stages(run.timings)) : null,
      h("div", {}, h("h3", {}, "Where and with what"), facts({
        run: run.run_id,
        "read version": run.catalog_version,
        machines: run.hosts.join(", "),
        ...run.versions,
      })),
      Object.keys(run.settings).length
        ? h("div", {}, h("h3", {}, "Settings"), facts(run.settings)) : null,
      run.recipe
        ? h("div", {}, h("h3", {}, "Recipe"), h("pre", { class: "scroll small" }, run.recipe)) : null));
}

function facts(values) {
  const shown = Object.entries(values)
    .filter(([key, value]) => key !== "funnel" && value !== null && value !== "");
  return h("dl", { class: "fact-list" }, shown.flatMap(([key, value]) => [
    h("dt", {}, key),
    h("dd", {}, typeof value === "object" ? JSON.stringify(value) : readable(value)),
  ]));
}

function stages(timings) {
  const longest = Object.entries(timings).sort((a, b) => b[1] - a[1]).slice(0, 12);
  const most = longest[0][1] || 1;
  return h("ul", { class: "bars" }, longest.map(([stage, seconds]) => h("li", {},
    h("span", {}, stage),
    h("span", { class: "track" }, h("i", { style: { width: `${100 * seconds / most}%` } })),
    h("span", { class: "number dim" }, `${readable(seconds)} s`))));
}
