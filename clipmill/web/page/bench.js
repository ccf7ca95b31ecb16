// The recipe bench.

import { fill, h } from "./dom.js";

export async function show(container, params) {
  fill(container, h("p", { class: "notice" }, "The recipe bench will be here."));
}
