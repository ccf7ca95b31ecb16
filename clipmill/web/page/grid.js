// The grid of clips.

import { fill, h } from "./dom.js";

export async function show(container, params) {
  fill(container, h("p", { class: "notice" }, "The grid of clips will be here."));
}
