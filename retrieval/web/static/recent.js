// The last queries as thumbnails. Uploads are kept until the page is closed, the others until the tab is.

import { $, el } from "./dom.js";
import { imageElement, nameOf, storedImage } from "./images.js";
import { fromUrl, isSame, kind, toUrl, uploadOf } from "./state.js";

const MOST = 10;
const KEY = "recent";

let last = [];
try {
  last = JSON.parse(sessionStorage.getItem(KEY) ?? "[]").map((url) => fromUrl(new URL(url, location.href).search));
} catch {
  // no storage, or not ours
}

/** Remember a query, and show the others. */
export function showRecent(state) {
  last = last.filter(({ upload, batch }) => [upload, ...batch].every((key) => !key || uploadOf(key)));
  if (kind(state) !== "start") last = [state, ...last.filter((each) => !isSame(each, state))].slice(0, MOST);
  const others = last.filter((each) => !isSame(each, state));
  $("#recent").hidden = !others.length;
  $("#recent-list").replaceChildren(...others.map((each) => el("li", {}, button(each))));
  try {
    const lasting = last.filter(({ upload, batch }) => !upload && !batch.length);
    sessionStorage.setItem(KEY, JSON.stringify(lasting.map(toUrl)));
  } catch {
    // storage may be forbidden
  }
}

/** The query of a click on one of the thumbnails, or null. */
export function recentOf(target) {
  const index = target.closest("#recent button")?.dataset.index;
  return index === undefined ? null : last[Number(index)];
}

function button(state) {
  const key = state.upload ?? state.batch[0];
  const id = state.id ?? state.like[0];
  const image = key ? imageElement(uploadOf(key).url) : storedImage(id);
  const many = state.batch.length + state.like.length + state.unlike.length > 0;
  const words = `Search again with ${key ? uploadOf(key).name : nameOf(id)}${many ? " and others" : ""}`;
  const named = { "aria-label": words, title: words };
  const number = many ? el("b", {}, "+") : null;
  return el("button", { type: "button", "data-index": last.indexOf(state), ...named }, image, number);
}
