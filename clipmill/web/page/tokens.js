// Tokenizers that were used: how much they made, how good it is, how they use their codes.

import { get } from "./api.js";
import { bytesText, lengthText, readable } from "./amounts.js";
import { fill, h, svg } from "./dom.js";

const UNITS = { psnr_db: "dB PSNR", mpjpe_mm: "mm MPJPE", ssim: "SSIM", lpips: "LPIPS" };

export async function show(container, { signal }) {
  const { streams } = await get("/api/tokens", {}, { signal });
  const head = h("div", { class: "page-head" }, h("h1", {}, "Tokens"));
  if (!streams.length) {
    fill(container, head, h("p", { class: "dim" }, "No tokens are stored yet: clipmill tokenize CATALOG SELECTION"));
    return;
  }
  const cards = streams.map((stream) => card(stream, signal));
  fill(container, head, cards.map(({ element }) => element));
  await Promise.all(cards.map(({ load }) => load()));
}

function card(stream, signal) {
  const [name, spec] = stream.tokens.replace(/^tokens\//, "").split("@");
  const levels = stream.levels ?? [];
  const bits = levels.reduce((sum, size) => sum + Math.log2(size), 0);
  const use = h("div", {}, h("p", { class: "dim" }, levels.length ? "Counting codes …" : "Latents have no codes."));
  const element = h("section", { class: "card tokenizer", dataset: { tokens: stream.tokens } },
    h("h2", {}, name, " ", h("span", { class: "dim mono small" }, `@${spec}`),
      stream.stream === "tokens" ? null : ` · ${stream.stream}`),
    h("div", { class: "tiles" },
      tile(readable(stream.windows), "windows"),
      tile(readable(stream.positions * Math.max(1, levels.length)), "tokens"),
      tile(bytesText(stream.bytes), `as ${stream.dtype}`),
      tile(lengthText(stream.seconds / 3600), "of clips"),
      stream.seconds ? tile(readable(bits * stream.positions / stream.seconds / 1000), "kbit per second") : null,
      Object.entries(stream.quality).map(([key, value]) =>
        tile(readable(value), `${UNITS[key] ?? key}, round trip`))),
    h("dl", { class: "fact-list" },
      ...fact("codes", levels.length ? `${levels.length} × ${readable(levels[0])}, ${readable(bits)} bits a position` : `latents of ${stream.channels}`),
      ...fact("weights", stream.weights_hash),
      ...fact("tiling", stream.tiling || "none")),
    h("h3", {}, "Use of the codes"), use);
  const load = async () => {
    if (!levels.length) return;
    const found = await get("/api/tokens/codes", { tokens: stream.tokens, stream: stream.stream }, { signal });
    fill(use,
      h("p", { class: "dim small" },
        `Over ${readable(found.windows)} windows. A bar is how often a code occurs, or some neighbours together.`),
      h("div", { class: "code-charts" }, found.levels.map((level, number) => chart(level, number))));
  };
  return { element, load };
}

function chart({ codes, used, perplexity, bars }, number) {
  const most = Math.max(1, ...bars);
  return h("figure", { dataset: { level: number, used } },
    svg("svg", {
      viewBox: `0 0 ${bars.length} 40`, preserveAspectRatio: "none", class: "codes", role: "img",
      "aria-label": `Level ${number + 1}: ${used} of ${codes} codes are used`,
    }, bars.map((count, place) => {
      const height = count ? Math.max(1, 40 * Math.sqrt(count / most)) : 0;
      return svg("rect", { x: place, y: 40 - height, width: 0.9, height });
    })),
    h("figcaption", { class: "small" },
      h("b", {}, `level ${number + 1}`),
      ` ${readable(used)} of ${readable(codes)} used, as even as ${readable(Math.round(perplexity))}`));
}

function tile(value, name) {
  return h("div", { class: "card" }, h("b", {}, value), h("span", { class: "dim" }, name));
}

function fact(name, value) {
  return [h("dt", {}, name), h("dd", { class: "mono" }, value ?? "–")];
}
