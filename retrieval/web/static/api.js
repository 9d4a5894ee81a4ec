// Requests to the service. Every failure is thrown as a Problem.

const DEADLINE = 95_000; // longer than the service's own deadline, so that its message is the one shown

export const NETWORK = 0;
export const NO_ANSWER = 504;

/**
 * status: an HTTP status, NETWORK or NO_ANSWER
 * seconds: the service's Retry-After, or 0
 * context: two lines that point at the place in a filter, or none
 */
export class Problem extends Error {
  constructor(status, message = "", seconds = 0, context = []) {
    super(message);
    this.context = context;
    this.status = status;
    this.seconds = seconds;
  }
}

let locked = async () => {
  throw new Problem(401);
};
let unlocking = null;

/** Set the function that asks the user for the key. */
export function whenLocked(handler) {
  locked = handler;
}

/** The JSON answer. `ask: false`: do not ask the user for a key, for background requests. Throws Problem. */
export async function call(path, { ask = true, ...options } = {}) {
  try {
    return await reach(path, options);
  } catch (error) {
    if (error.status !== 401 || !ask) throw error;
    // Several requests may be refused at once; the user is asked once for all of them.
    unlocking ??= locked().finally(() => (unlocking = null));
    await unlocking;
    return reach(path, options);
  }
}

/** Search by an image (`file`), by a stored one, or by examples. */
export function search(state, { file, filter, reconstruct, ...options }) {
  const form = new FormData();
  const examples = state.like.length + state.unlike.length > 0;
  for (const list of ["like", "unlike"]) for (const id of state[list]) form.append(list, id);
  if (file) form.append("image", file, file.name || "image");
  else if (!examples) form.append("id", state.id);
  form.append("k", String(state.k));
  if (filter) form.append("filter", filter);
  if (!examples) form.append("same", "true");
  if (reconstruct && !examples) form.append("reconstruct", "true");
  return call("./api/search", { method: "POST", body: form, ...options });
}

/** As `call`, without asking for a key. */
export async function reach(path, { signal, ...options }) {
  const limit = new AbortController();
  const stop = () => limit.abort();
  const timer = setTimeout(stop, DEADLINE);
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop();
  try {
    const response = await fetch(path, { ...options, signal: limit.signal });
    if ([202, 204].includes(response.status)) return null; // no answer yet, or none
    if (response.ok) return await response.json();
    const { error, context } = await reason(response);
    throw new Problem(response.status, error, Number(response.headers.get("Retry-After")) || 0, context);
  } catch (error) {
    if (error instanceof Problem || signal?.aborted) throw error;
    throw new Problem(limit.signal.aborted ? NO_ANSWER : NETWORK);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

/** The service's own error message and its context; empty if a proxy answered. */
async function reason(response) {
  const said = await response.json().catch(() => null);
  return {
    error: typeof said?.error === "string" ? said.error : "",
    context: Array.isArray(said?.context) ? said.context.map(String) : [],
  };
}
