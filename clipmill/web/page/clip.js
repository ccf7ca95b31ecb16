// The page of one clip.

import { fill, h } from "./dom.js";

export async function show(container, params) {
  fill(container, h("p", { class: "notice" }, "The page of one clip will be here."));
}
