// What the page asks of the API. The session cookie goes along by itself; scripts cannot read it.

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || `The server answered ${status}.`);
    this.status = status;
    this.hint = body.hint;
    this.mistakes = body.errors || [];
  }
}

export async function ask(path, options = {}) {
  const response = await reach(path, { credentials: "same-origin", cache: "no-store", ...options });
  if (response.ok) return response.status === 204 ? null : response.json();
  const text = await response.text();
  let body = {};
  try { body = JSON.parse(text); } catch { /* not ours: a proxy's page */ }
  throw new Problem(response.status, body);
}

// The window hears `lost` when the server does not answer at all, and `reached` when it does.
async function reach(path, options) {
  try {
    const response = await fetch(path, options);
    window.dispatchEvent(new Event("reached"));
    return response;
  } catch (problem) {
    window.dispatchEvent(new Event("lost"));
    throw problem;
  }
}

export const post = (path, body) => ask(path, {
  method: "POST",
  headers: body ? { "Content-Type": "application/json" } : {},
  body: body && JSON.stringify(body),
});

export const signIn = (token) => post("/session", { token });
export const signOut = () => ask("/session", { method: "DELETE" });
export const workers = () => ask("/v1/workers");
export const queue = () => ask("/v1/queue");
export const job = (id) => ask(`/v1/jobs/${id}`);
export const act = (id, verb) => post(`/v1/jobs/${id}/${verb}`);
export const metrics = (id) => ask(`/v1/jobs/${id}/metrics?max_points=800`);
export const diagnostics = (id) => ask(`/v1/jobs/${id}/diagnostics`);
export const logs = (id) => ask(`/v1/jobs/${id}/logs?limit=2000`);

export const study = (id) => ask(`/v1/studies/${id}`);
export const studySchema = () => ask("/v1/schema/study");
export const planStudy = (spec) => post("/v1/studies/validate", spec);
export const beginStudy = (spec) => post("/v1/studies", spec);
export const extendStudy = (id, seeds) => post(`/v1/studies/${id}/extend`, { seeds });
export const cancelStudy = (id) => post(`/v1/studies/${id}/cancel`);
export const deleteStudy = (id) => ask(`/v1/studies/${id}`, { method: "DELETE" });

export function studies(cursor) {
  const query = new URLSearchParams({ limit: "50" });
  if (cursor) query.set("cursor", cursor);
  return ask(`/v1/studies?${query}`);
}

export function jobs(state, cursor) {
  const query = new URLSearchParams({ limit: "50" });
  if (state) query.set("state", state);
  if (cursor) query.set("cursor", cursor);
  return ask(`/v1/jobs?${query}`);
}

// The browser reconnects by itself and sends the last id it saw: nothing is missed and nothing comes twice.
export function watch(id, after, hear) {
  const source = new EventSource(`/v1/jobs/${id}/events?after=${after}`);
  for (const kind of ["state", "metric", "log", "diagnostic"]) {
    source.addEventListener(kind, (message) => hear(JSON.parse(message.data), source));
  }
  return source;
}
