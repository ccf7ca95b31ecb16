// Asking the server. Every answer is JSON; a refusal becomes a Refusal with its three parts.

export class Refusal extends Error {
  constructor(status, { problem, allowed, hint }) {
    super(problem);
    Object.assign(this, { status, problem, allowed, hint });
  }
}

/** An address with parameters; arrays repeat theirs, null and "" are left out. */
export function address(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== null && item !== undefined && item !== "") query.append(name, item);
    }
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

/** GET /api/… as a value. `signal` gives the question up. */
export async function get(path, parameters = {}, { signal } = {}) {
  return read(await reach(address(path, parameters), { signal }));
}

/** POST /api/… with a value. */
export async function post(path, value, { signal } = {}) {
  const headers = { "Content-Type": "application/json" };
  return read(await reach(path, { method: "POST", headers, body: JSON.stringify(value), signal }));
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, {
      problem: "the viewer does not answer",
      hint: "see whether clipmill browse still runs in its terminal",
    });
  }
}

async function read(response) {
  const value = await response.json();
  if (!response.ok) throw new Refusal(response.status, value);
  return value;
}

let about = null;

/** What is served: {name, path, version, clips, kinds, reviewer, …}; asked once. */
export function aboutCatalog() {
  about ??= get("/api/about");
  return about;
}
