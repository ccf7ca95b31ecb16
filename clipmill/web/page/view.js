// What the grid shows, as it stands in the address: {where, text, like, sort, ranges, values, show}.

/** Read a view from the parameters of an address. */
export function readView(query) {
  const ranges = new Map();
  for (const text of query.getAll("range")) {
    const [name, low, high] = text.split(":");
    ranges.set(name, { low: low ?? "", high: high ?? "" });
  }
  const values = new Map();
  for (const text of query.getAll("value")) {
    const [name, ...rest] = text.split(":");
    values.set(name, [...(values.get(name) ?? []), rest.join(":")]);
  }
  return {
    where: query.get("where") ?? "",
    text: query.get("text") ?? "",
    like: query.get("like") ?? "",
    sort: query.get("sort") ?? "",
    show: (query.get("show") ?? "").split(",").filter(Boolean),
    ranges,
    values,
  };
}

/** The parameters that ask the server for a view. */
export function viewParameters(view) {
  return {
    where: view.where,
    text: view.text,
    like: view.like,
    sort: view.sort,
    range: [...view.ranges].map(([name, { low, high }]) => `${name}:${low}:${high}`),
    value: [...view.values].flatMap(([name, items]) => items.map((item) => `${name}:${item}`)),
  };
}

/** The parameters of the address of a view. */
export function addressParameters(view) {
  return { ...viewParameters(view), show: view.show.join(",") };
}

/** Whether a view shows all clips. */
export function isPlain(view) {
  return !(view.where || view.text || view.like || view.ranges.size || view.values.size);
}

const FEW_DIGITS = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const WHOLE = new Intl.NumberFormat("en");

/** A value as a person reads it. */
export function readable(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return WHOLE.format(value);
  return Math.abs(value) < 1e-3 ? value.toExponential(1) : FEW_DIGITS.format(value);
}

/** A span of a source: 0:04.0–0:07.5. */
export function spanText(start, end) {
  return start === null || end === null ? "" : `${clock(start)}–${clock(end)}`;
}

function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  const minutes = Math.floor(tenths / 600);
  return `${minutes}:${((tenths % 600) / 10).toFixed(1).padStart(4, "0")}`;
}
