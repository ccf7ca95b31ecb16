// The frame of the page: which area an address shows, moving between them, light and dark.
//
// An area is a module with `show(container, params)`, which fills the container. `params` has the
// parts of the path by name, `query` (URLSearchParams) and `signal`, which is aborted when the area
// is left: give it to `get` and `addEventListener`. What `show` returns, if it is a function, is
// called on leaving, for what no signal ends.

import { aboutCatalog } from "./api.js";
import { fill, h, notice } from "./dom.js";

const AREAS = [
  { path: /^\/$/, module: "grid", title: "Clips", address: "/" },
  { path: /^\/clip\/(?<clip_id>[0-9a-f]+)$/, module: "clip", title: "Clip" },
  { path: /^\/bench$/, module: "bench", title: "Bench", address: "/bench" },
  { path: /^\/sources$/, module: "sources", title: "Sources", address: "/sources" },
  { path: /^\/runs$/, module: "runs", title: "Runs", address: "/runs" },
  { path: /^\/tokens$/, module: "tokens", title: "Tokens", address: "/tokens" },
  { path: /^\/labels$/, module: "labels", title: "Labels", address: "/labels", reviewing: true },
];

let leaving = null;
let leave = null;

/** Go to an address of the page; `replace` leaves no step to go back to. */
export function navigate(target, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"]({}, "", target);
  return render();
}

async function render() {
  const url = new URL(location.href);
  const area = AREAS.find(({ path }) => path.test(url.pathname));
  leaving?.abort();
  leave?.();
  leave = null;
  leaving = new AbortController();
  const { signal } = leaving;
  for (const link of document.querySelectorAll("#areas a")) {
    if (link.pathname === url.pathname) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const container = h("div", { class: `area ${area?.module ?? ""}` });
  fill(document.getElementById("content"), container);
  if (!area) {
    fill(container, h("p", { class: "notice" }, `There is nothing at ${url.pathname}.`));
    return;
  }
  document.title = `${area.title} · ${document.getElementById("catalog-name").textContent}`;
  const groups = area.path.exec(url.pathname).groups ?? {};
  try {
    const { show } = await import(`./${area.module}.js`);
    if (signal.aborted) return;
    const done = await show(container, { ...groups, query: url.searchParams, signal });
    if (typeof done !== "function") return;
    if (signal.aborted) done();
    else leave = done;
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    fill(container, notice(error));
    if (error.problem === undefined) throw error;
  }
}

/** Links within the page change the area without loading the page again. */
function followLinks(event) {
  const link = event.target.closest?.("a[href]");
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey;
  if (!link || !plain || event.defaultPrevented || link.origin !== location.origin) return;
  if (link.target || link.hasAttribute("download")) return;
  if (!AREAS.some(({ path }) => path.test(link.pathname))) return;
  if (link.hash && link.pathname === location.pathname) return;
  event.preventDefault();
  navigate(link.href);
  window.scrollTo(0, 0);
}

/** Light, dark, or as the system has it; the choice is kept in this browser. */
function setUpTheme() {
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const shown = () => document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
  const draw = () => { button.textContent = shown() === "dark" ? "☀" : "☾"; };
  const kept = localStorage.getItem("theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
  button.addEventListener("click", () => {
    const next = shown() === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    localStorage.setItem("theme", next);
    draw();
  });
  dark.addEventListener("change", draw);
  draw();
}

/** The token did its work when the cookie was set: it should not stay in the address. */
function hideToken() {
  const url = new URL(location.href);
  if (!url.searchParams.has("token")) return;
  url.searchParams.delete("token");
  history.replaceState({}, "", url);
}

async function showFrame() {
  const about = await aboutCatalog();
  document.getElementById("catalog-name").textContent = about.name;
  fill(document.getElementById("areas"), AREAS
    .filter(({ address, reviewing }) => address && (!reviewing || about.reviewer))
    .map(({ address, title }) => h("a", { href: address }, title)));
}

// Not awaited here: the areas import this module, which must be whole by then.
async function start() {
  try {
    await showFrame();
    await render();
  } catch (error) {
    fill(document.getElementById("content"), notice(error));
    if (error.problem === undefined) throw error;
  }
}

hideToken();
setUpTheme();
document.addEventListener("click", followLinks);
addEventListener("popstate", render);
start();
