// The panel of filters, built from the schema: a slider for each number, a list for each text.

import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { rangeSlider } from "./slider.js";
import { readable } from "./view.js";

const FEW_VALUES = 8;
const MISSING = "\\N";

/** The panel; what the server said of columns is kept until the catalog changes. */
export class FilterPanel {
  /** `schema` is what /api/columns says; `changed` gets the parts of the view that change. */
  constructor(container, schema, changed) {
    Object.assign(this, { container, schema, changed });
    this.columns = new Map(schema.columns.map((column) => [column.column, column]));
    this.extra = [];
    this.version = null;
  }

  /** Show the filters of a view. */
  async show(view, version, signal) {
    if (version !== this.version) Object.assign(this, { version, charts: {}, values: {} });
    const names = [...new Set([
      ...this.schema.filters, ...view.ranges.keys(), ...view.values.keys(), ...view.show, ...this.extra,
    ])].filter((name) => this.columns.has(name));
    const role = (wanted) => names.filter((name) => this.columns.get(name).role === wanted);
    const charts = role("number").filter((name) => !(name in this.charts));
    const values = role("text").filter((name) => !(name in this.values));
    await Promise.all([
      charts.length && get("/api/histograms", { columns: charts }, { signal })
        .then((found) => Object.assign(this.charts, found)),
      ...values.map((column) => get("/api/values", { column }, { signal })
        .then((found) => { this.values[column] = found; })),
    ]);
    const sections = names.map((name) => {
      const column = this.columns.get(name);
      if (column.role === "number") return numberFilter(column, this.charts[name], view, this.changed);
      if (column.role === "text") return textFilter(column, this.values[name], view, this.changed);
      return null;
    });
    const key = document.activeElement?.dataset?.key;
    fill(this.container, sections, this.#picker(names));
    if (key) this.container.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
  }

  /** Any other column: it gets a filter, and its value stands in each cell. */
  #picker(names) {
    const choices = this.schema.columns.filter(({ column, role }) => role !== "other" && !names.includes(column));
    const input = h("input", {
      type: "search", list: "more-columns", placeholder: "Add a column…", "aria-label": "Add a filter for a column",
      oninput: () => {
        const name = input.value;
        if (!choices.some(({ column }) => column === name)) return;
        this.extra.push(name);
        this.changed((view) => ({ show: [...new Set([...view.show, name])] }));
      },
    });
    return h("section", { class: "filter" }, input,
      h("datalist", { id: "more-columns" }, choices.map(({ column, unit, meaning }) =>
        h("option", { value: column, label: unit ? `${meaning} [${unit}]` : meaning }))));
  }
}

function section(column, body, isSet, clear) {
  const unit = column.unit ? h("span", { class: "dim" }, column.unit) : null;
  return h("section", { class: `filter ${isSet ? "set" : ""}`, "aria-label": column.column, title: column.meaning },
    h("h3", {}, column.column, " ", unit,
      isSet ? h("button", { type: "button", class: "quiet clear", "aria-label": `Clear ${column.column}`, onclick: clear }, "×") : null),
    body);
}

function numberFilter(column, { chart, example }, view, changed) {
  const name = column.column;
  const range = view.ranges.get(name) ?? { low: "", high: "" };
  const put = (next) => changed((now) => {
    const ranges = new Map(now.ranges);
    if (next.low === "" && next.high === "") ranges.delete(name);
    else ranges.set(name, next);
    return { ranges };
  });
  const body = chart
    ? rangeSlider(name, chart, range, put)
    : h("p", { class: "dim small" }, example === null ? "not measured" : `always ${readable(example)}`);
  return section(column, body, view.ranges.has(name), () => put({ low: "", high: "" }));
}

function textFilter(column, found, view, changed) {
  const name = column.column;
  const chosen = new Set(view.values.get(name) ?? []);
  const put = () => changed((now) => {
    const values = new Map(now.values);
    if (chosen.size) values.set(name, [...chosen]);
    else values.delete(name);
    return { values };
  });
  const line = ({ value, clips }) => h("label", {},
    h("input", {
      type: "checkbox", checked: chosen.has(value), dataset: { key: `${name}:${value}` },
      onchange: (event) => {
        if (event.target.checked) chosen.add(value);
        else chosen.delete(value);
        put();
      },
    }),
    h("span", { class: "value" }, value === MISSING ? "not known" : value),
    h("span", { class: "number dim small" }, clips === undefined ? "" : readable(clips)));
  const list = h("div", { class: "values" });
  const draw = (all) => {
    const shown = all ? found.values : found.values.slice(0, FEW_VALUES);
    const others = [...chosen].filter((value) => !shown.some((item) => item.value === value));
    const hidden = found.values.length - shown.length;
    fill(list,
      [...shown, ...others.map((value) => ({ value }))].map(line),
      hidden ? h("button", { type: "button", class: "quiet small", onclick: () => draw(true) }, `${hidden}${found.more ? "+" : ""} more`) : null,
      all && found.more ? h("p", { class: "dim small" }, "and rarer ones: ask in SQL") : null);
  };
  draw(false);
  return section(column, list, chosen.size > 0, () => { chosen.clear(); put(); });
}
