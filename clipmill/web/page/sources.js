// Sources and quarantined files.

import { fill, h } from "./dom.js";

export async function show(container, params) {
  fill(container, h("p", { class: "notice" }, "Sources and quarantined files will be here."));
}
