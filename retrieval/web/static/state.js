// The query. It is kept in the address, so that links and the back button work; only uploads are kept in memory.

import { readConditions, writeConditions } from "./conditions.js";

export const SIZES = [10, 20, 50, 100];
const ORDERS = ["random", "date", "name", "label", "map", "duplicates", "outliers"]; // of the images to start from
const SIZE = 20;
export const MOST = 200; // results
const EXAMPLES = 32; // the service's limit for each list
export const UPLOADS = 50; // kept; more are let go of
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** `start`, `batch`, `upload`, `id` or `like`. An upload beside examples is one of those to be like. */
export function kind(state) {
  if (state.batch.length) return "batch";
  if (state.like.length || state.unlike.length) return "like";
  if (state.upload) return "upload";
  return state.id ? "id" : "start";
}

/** upload, batch: keys of kept files, which no address has */
export function fromUrl(query, upload = null, batch = []) {
  const parameters = new URLSearchParams(query);
  const ids = (name) => unique(parameters.getAll(name).filter((each) => ID.test(each))).slice(0, EXAMPLES);
  const k = Number(parameters.get("k"));
  const [id = null] = ids("id");
  const unlike = ids("unlike");
  let like = ids("like");
  if (id && unlike.length && !like.length) like = [id];
  return {
    id: like.length ? null : id,
    upload,
    batch,
    like,
    unlike: like.length || upload ? unlike : [],
    k: Number.isInteger(k) && k >= 1 && k <= MOST ? k : SIZE,
    order: ORDERS.includes(parameters.get("order")) ? parameters.get("order") : ORDERS[0],
    ...readConditions(parameters),
  };
}

export function toUrl(state) {
  const parameters = new URLSearchParams();
  const what = kind(state);
  if (what === "id") parameters.set("id", state.id);
  for (const list of ["like", "unlike"]) for (const id of state[list]) parameters.append(list, id);
  if (what !== "start" || state.k !== SIZE) parameters.set("k", state.k);
  if (what === "start" && state.order !== ORDERS[0]) parameters.set("order", state.order);
  writeConditions(state, parameters);
  const text = String(parameters);
  return text ? `./?${text}` : "./";
}

/** Another query, with the same number of results and filters. */
export function queryFor(state, { id = null, upload = null, batch = [], like = [] } = {}) {
  return settled({ ...state, id, upload, batch, like: like.slice(-EXAMPLES), unlike: [] });
}

export const isSame = (one, other) =>
  toUrl(one) === toUrl(other) && one.upload === other.upload && String(one.batch) === String(other.batch);

/** With one more example in `list`; the stored image that was searched with becomes the first to be like. */
export function withExample(state, id, list) {
  const like = (state.id ? [state.id, ...state.like] : state.like).filter((each) => each !== id);
  const lists = { like, unlike: state.unlike.filter((each) => each !== id) };
  lists[list] = [...lists[list], id].slice(-EXAMPLES);
  return settled({ ...state, id: null, batch: [], ...lists });
}

export function withoutExample(state, id) {
  const [like, unlike] = [state.like, state.unlike].map((list) => list.filter((each) => each !== id));
  return settled({ ...state, like, unlike });
}

/** A single image to be like, and nothing else, is a search with that image. */
function settled(state) {
  if (state.upload) return state;
  if (!state.like.length) return { ...state, unlike: [] };
  return state.like.length === 1 && !state.unlike.length ? { ...state, id: state.like[0], like: [] } : state;
}

const unique = (values) => [...new Set(values)];

const uploads = new Map();
const session = Date.now(); // makes keys from before a reload invalid
let made = 0;

/** Keep a file until the page is closed or UPLOADS newer files were kept; returns its key. */
export function keepUpload(file) {
  const key = `${session}-${(made += 1)}`;
  uploads.set(key, { file, name: file.name || "image", url: URL.createObjectURL(file) });
  for (const [oldest, { url }] of uploads) {
    if (uploads.size <= UPLOADS) break;
    URL.revokeObjectURL(url);
    uploads.delete(oldest);
  }
  return key;
}

export const uploadOf = (key) => uploads.get(key);
