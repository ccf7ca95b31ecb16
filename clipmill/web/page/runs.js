// Runs and their rates.

import { fill, h } from "./dom.js";

export async function show(container, params) {
  fill(container, h("p", { class: "notice" }, "Runs and their rates will be here."));
}
