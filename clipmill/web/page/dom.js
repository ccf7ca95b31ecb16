// Making elements. Text only ever enters the page as text: nothing here parses HTML.

/**
 * An element: h("button", {class: "quiet", onclick: f}, "Save").
 * Properties that begin with "on" are listeners; `dataset` and `style` take objects; true and
 * false set or leave out an attribute; null and undefined are left out.
 */
export function h(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** The same for elements of SVG. */
export function svg(tag, properties = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "style") {
      for (const [key, item] of Object.entries(value)) element.style.setProperty(key, item);
    } else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Put children in the place of those that an element has. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** What the server said was wrong, as a notice: problem, what is allowed, what to do next. */
export function notice(error) {
  return h("div", { class: "notice bad", role: "alert" },
    h("p", {}, error.problem ?? String(error)),
    error.allowed ? h("p", { class: "dim" }, `Allowed: ${error.allowed}`) : null,
    error.hint ? h("p", { class: "dim" }, `Next: ${error.hint}`) : null);
}

/** Tell what changed to people who do not see it. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}
