// Requests, and what goes wrong with them as one kind of error.

const DEADLINE = 95_000; // longer than the service's own, so that its sentence is the one that is read

export const NETWORK = 0;
export const NO_ANSWER = 504;

/** What went wrong: an HTTP status, or NETWORK; `seconds` is when the service wants to be asked again. */
export class Problem extends Error {
  constructor(status, message = "", seconds = 0) {
    super(message);
    this.status = status;
    this.seconds = seconds;
  }
}

let locked = async () => {
  throw new Problem(401);
};
let unlocking = null;

/** Say who asks for the key when one is wanted. */
export function whenLocked(handler) {
  locked = handler;
}

/** The JSON answer. `ask: false` for what nobody waits for: it does not ask for a key. Raises Problem. */
export async function call(path, { ask = true, ...options } = {}) {
  try {
    return await reach(path, options);
  } catch (error) {
    if (error.status !== 401 || !ask) throw error;
    // Several requests meet the lock at once; one question serves them all.
    unlocking ??= locked().finally(() => (unlocking = null));
    await unlocking;
    return reach(path, options);
  }
}

export function openSession(key) {
  return reach("./api/session", { method: "POST", headers: { "X-API-Key": key } });
}

/** The nearest of a picture (`file`), of a stored one, or of examples. */
export function search(state, { file, filter, reconstruct, ...options }) {
  const form = new FormData();
  if (state.like.length) {
    for (const id of state.like) form.append("like", id);
    for (const id of state.unlike) form.append("unlike", id);
  } else if (file) {
    form.append("image", file, file.name || "picture");
  } else {
    form.append("id", state.id);
  }
  form.append("k", String(state.k));
  if (filter) form.append("filter", filter);
  if (reconstruct && !state.like.length) form.append("reconstruct", "true");
  return call("./api/search", { method: "POST", body: form, ...options });
}

async function reach(path, { signal, ...options }) {
  const limit = new AbortController();
  const stop = () => limit.abort();
  const timer = setTimeout(stop, DEADLINE);
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop();
  try {
    const response = await fetch(path, { ...options, signal: limit.signal });
    if (response.status === 204) return null;
    if (response.ok) return await response.json();
    throw new Problem(response.status, await reason(response), Number(response.headers.get("Retry-After")) || 0);
  } catch (error) {
    if (error instanceof Problem || signal?.aborted) throw error;
    throw new Problem(limit.signal.aborted ? NO_ANSWER : NETWORK);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

/** The service's own sentence, where the answer is not a proxy's page. */
async function reason(response) {
  try {
    const { error } = await response.json();
    return typeof error === "string" ? error : "";
  } catch {
    return "";
  }
}
