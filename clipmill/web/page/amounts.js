// Amounts as a person would say them.

import { readable } from "./view.js";

export { readable };

const HOURS = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** A number of things: 1 clip, 2 clips. */
export function counted(count, noun) {
  return `${readable(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** Hours in the unit that suits them. */
export function lengthText(hours) {
  if (hours === null || hours === undefined) return "–";
  if (hours >= 2) return `${HOURS.format(hours)} h`;
  if (hours * 60 >= 2) return `${HOURS.format(hours * 60)} min`;
  return `${HOURS.format(hours * 3600)} s`;
}

/** Seconds of waiting: 12 s, 3 min 20 s, 2 h 05 min. */
export function durationText(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 60) return `${seconds < 10 ? HOURS.format(seconds) : Math.round(seconds)} s`;
  const minutes = Math.floor(Math.round(seconds) / 60);
  const pad = (number) => String(number).padStart(2, "0");
  if (minutes < 60) return `${minutes} min ${pad(Math.round(seconds) % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
}

/** A size: 1.5 GiB. */
export function bytesText(count) {
  if (count === null || count === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = count;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) { size /= 1024; unit += 1; }
  return `${unit ? size.toFixed(1) : size} ${units[unit]}`;
}

/** An instant in this machine's time, to the minute. */
export function instantText(text) {
  if (!text) return "–";
  return new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
