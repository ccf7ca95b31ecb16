// Labels of the reviewer.

import { fill, h } from "./dom.js";

export async function show(container, params) {
  fill(container, h("p", { class: "notice" }, "Labels will be here."));
}
