// The collection's images, to start from: in an order, filtered, and more of them while scrolling.

import { call } from "./api.js";
import { announce, showMessage } from "./banner.js";
import { filterText } from "./conditions.js";
import { $, ago, count, sentence } from "./dom.js";
import { addRows, fill, showSkeleton } from "./grid.js";
import { remember } from "./images.js";

const FIRST = 24; // images of the first page
const PAGE = 60; // of the others
const ROWS = 20; // of a review's page
const REVIEWS = { duplicates: ["group of duplicates", "groups of duplicates"], outliers: ["outlier", "outliers"] };
const MOST = 5000; // shown at once
const AHEAD = 1200; // pixels from the end at which the next page is loaded
const SKELETON_DELAY = 300; // milliseconds until empty tiles are shown
const START = "Or start from one of these";

const [list, more, others, order, title] = ["#sample", "#more", "#others", "#order", "#title"].map($);
const shown = new Set();
let now = null; // the state that is browsed, what it asks for, and how much of that was loaded
let loading = null;
let chosen = {}; // what is called for a clicked image, and for an area of the map
let leaveMap = () => {};

/** The list that is asked for, without its place. */
const wanted = ({ order: by, ...state }) => String(new URLSearchParams({ order: by, filter: filterText(state) }));
const isPlain = (state) => state.order === "random" && !filterText(state);

export const isShown = (state) => now?.key === wanted(state) && list.querySelector("a, canvas") !== null;

/** Show the first images; `ask: false`: do not ask for a key. Throws Problem. */
export async function browse(state, { ask = true } = {}) {
  const mine = (now = { state, key: wanted(state), offset: 0, seed: Math.floor(Math.random() * 2 ** 32) });
  const late = setTimeout(() => list.querySelector("a") || showSkeleton(list, FIRST), SKELETON_DELAY);
  loading = mine;
  leaveMap();
  try {
    if (state.order === "map") return await openMap(mine);
    const n = fill(list, FIRST);
    const found = isPlain(state) ? await call(`./api/sample?n=${n}`, { ask }) : await page(mine, n, ask);
    if (mine === now) show(found, true);
  } catch (problem) {
    if (mine === now) clear();
    if (problem.status !== 404) throw problem;
    if (mine === now) showMessage("info", sentence(problem.message));
  } finally {
    clearTimeout(late);
    if (loading === mine) loading = null;
    if (mine === now && !list.hidden && state.order !== "map") showTitle();
  }
}

/** Show the heading and the controls of the images shown, or hide them. */
export function showControls(state, start) {
  order.value = state.order;
  for (const each of [list, order]) each.hidden = !start;
  if (start) showTitle();
  else more.hidden = others.hidden = true;
}

function showTitle() {
  const some = list.querySelector("a") !== null;
  const { state, listed, whole = true, made, offset } = now ?? { state: null };
  others.hidden = !some || state?.order !== "random";
  more.hidden = !some || shown.size >= MOST || offset >= (listed ?? Infinity);
  if (!state) title.textContent = START;
  else if (state.order === "map") title.textContent = "The map";
  else if (isPlain(state)) title.textContent = some ? START : "No images to start from";
  else if (made) title.textContent = `${count(now.found, ...REVIEWS[state.order])}, found ${ago(made)}`;
  else if (!some) title.textContent = listed === 0 ? "No image meets the filters" : "No images";
  else title.textContent = `${whole ? "" : "More than "}${count(listed, "image")}`;
}

async function openMap(mine) {
  clear();
  const { closeMap, showMap } = await import("./map.js");
  leaveMap = closeMap;
  const say = (words) => mine === now && !list.hidden && (title.textContent = words);
  await showMap(list, mine.state, { ...chosen, say });
}

async function page(mine, n, ask) {
  const { state, key, seed, offset } = mine;
  const review = state.order in REVIEWS;
  const size = review ? ROWS : n;
  const what = review ? `reviews/${state.order}?filter=${encodeURIComponent(filterText(state))}` : `points?${key}`;
  const found = await call(`./api/${what}${review ? "" : `&seed=${seed}`}&offset=${offset}&n=${size}`, { ask });
  return Object.assign(mine, found, { offset: offset + size });
}

async function showMore() {
  if (loading || more.hidden) return;
  const mine = (loading = now);
  const held = document.activeElement === more;
  try {
    const found = await page(mine, PAGE, true);
    if (mine !== now) return;
    const fresh = show(found, false);
    showTitle();
    announce(`${count(fresh.length, "image")} more`);
    if (held) fresh[0]?.querySelector("a").focus();
  } catch {
    // the button stays, to try again
  } finally {
    if (loading === mine) loading = null;
  }
}

function clear() {
  shown.clear();
  list.replaceChildren();
}

function show({ rows, points }, first) {
  if (first) clear();
  const all = rows ?? points.map((point) => [point]);
  const fresh = all.filter((row) => row.length && (rows || !shown.has(row[0].id)));
  remember(fresh.flat());
  for (const { id } of fresh.flat()) shown.add(id);
  return addRows(list, fresh, now.state);
}

/** Set what is called when another order was chosen, or others at random. */
export function whenBrowsing({ reorder, again, ...map }) {
  chosen = map;
  order.addEventListener("change", () => reorder(order.value));
  others.addEventListener("click", again);
  more.addEventListener("click", showMore);
  const near = () => document.documentElement.scrollHeight - innerHeight - scrollY < AHEAD;
  addEventListener("scroll", () => !list.hidden && near() && showMore(), { passive: true });
}
