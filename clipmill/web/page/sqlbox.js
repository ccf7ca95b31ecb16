// A box for a condition in SQL that completes columns, tables and a few words while one types.

import { fill, h } from "./dom.js";

const WORDS = ["and", "between", "false", "in", "is not null", "is null", "like", "not", "or", "true"];
const MOST_SHOWN = 8;

/**
 * The box. `schema` is what /api/columns says. `changed(text)` is called on Enter or when the box is
 * left with another text. `problem(error)` shows what the server said of it, null that all is well;
 * `set(text)` puts another condition there.
 */
export function sqlBox(schema, text, changed) {
  const known = [
    ...schema.columns.map(({ column, unit, meaning }) => ({
      word: column, meaning: unit ? `${meaning} [${unit}]` : meaning,
    })),
    ...schema.tables.map((table) => ({ word: table.replaceAll(/\W/g, "_"), meaning: "table" })),
    ...WORDS.map((word) => ({ word, meaning: "" })),
  ];
  const list = h("ul", { id: "sql-words", class: "words", role: "listbox", "aria-label": "Completions", hidden: true });
  const fault = h("p", { id: "sql-fault", class: "fault bad small", role: "alert" });
  const input = h("textarea", {
    id: "sql", class: "mono", rows: 1, spellcheck: "false", autocapitalize: "off", autocomplete: "off",
    placeholder: "SQL: motion_px between 1 and 20", value: text,
    role: "combobox", "aria-label": "Condition in SQL", "aria-autocomplete": "list",
    "aria-controls": "sql-words", "aria-expanded": "false", "aria-describedby": "sql-fault",
  });
  let words = [];
  let chosen = 0;
  let applied = text;

  const beginning = () => /[A-Za-z_]\w*$/.exec(input.value.slice(0, input.selectionStart))?.[0] ?? "";
  const close = () => {
    words = [];
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const draw = () => {
    fill(list, words.map(({ word, meaning }, number) => h("li", {
      id: `sql-word-${number}`, role: "option", "aria-selected": number === chosen ? "true" : "false",
      onpointerdown: (event) => { event.preventDefault(); take(number); },
    }, h("span", { class: "mono" }, word), h("span", { class: "dim small" }, meaning))));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    input.setAttribute("aria-activedescendant", `sql-word-${chosen}`);
  };
  const suggest = () => {
    const start = beginning().toLowerCase();
    if (start.length < 2) return close();
    const ranked = known
      .map((item) => ({ ...item, at: item.word.toLowerCase().indexOf(start) }))
      .filter(({ at, word }) => at >= 0 && word.toLowerCase() !== start);
    words = ranked.sort((a, b) => a.at - b.at || a.word.localeCompare(b.word)).slice(0, MOST_SHOWN);
    chosen = 0;
    return words.length ? draw() : close();
  };
  const take = (number) => {
    const end = input.selectionStart;
    input.setRangeText(words[number].word, end - beginning().length, end, "end");
    close();
    input.focus();
    grow();
  };
  const grow = () => { input.rows = Math.min(6, input.value.split("\n").length); };
  const apply = () => {
    close();
    const next = input.value.trim();
    if (next === applied) return;
    applied = next;
    changed(next);
  };
  input.addEventListener("input", () => { grow(); suggest(); });
  input.addEventListener("blur", apply);
  input.addEventListener("keydown", (event) => {
    if (words.length && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      chosen = (chosen + (event.key === "ArrowDown" ? 1 : -1) + words.length) % words.length;
      draw();
    } else if (words.length && event.key === "Tab") take(chosen);
    else if (event.key === "Escape" && words.length) close();
    else if (event.key === "Enter" && !event.shiftKey) apply();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  grow();
  const problem = (error) => {
    input.classList.toggle("wrong", Boolean(error));
    input.setAttribute("aria-invalid", error ? "true" : "false");
    fill(fault, error ? [error.problem, error.hint].filter(Boolean).join(". ") : null);
  };
  const set = (next) => {
    applied = next;
    input.value = next;
    grow();
  };
  return { element: h("div", { class: "sqlbox" }, input, list, fault), problem, set };
}
