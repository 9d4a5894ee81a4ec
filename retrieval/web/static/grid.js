// The grids of hits and of images to start from.

import { count, el, icon, shorten } from "./dom.js";
import { nameOf, storedImage } from "./images.js";
import { rove } from "./keys.js";
import { gauge, nearness, nearnessFigures, nearnessWord } from "./nearness.js";
import { queryFor, toUrl } from "./state.js";

const NAME = 18; // characters shown of a file's name; the title has the whole path
const SKELETON = 20;
export const HERE = "This very image is here";

/** far: nothing resembles the query, so the images are dimmed. */
export function showHits(list, hits, state, far) {
  list.classList.toggle("far", far);
  const first = columns(list);
  list.replaceChildren(...hits.map((hit, index) => result(hit, index + 1, state, index >= first)));
  rove(list);
}

/** Hits in one row, without their numbers; the query's own image first. */
export function showRow(list, { hits, same }, state) {
  const small = ({ id, distance }) => {
    const words = distance === undefined ? `${HERE}: ${nameOf(id)}` : `${nameOf(id)}, distance ${distance.toFixed(4)}`;
    return el("li", { class: distance === undefined ? "same" : null, "data-id": id }, link(id, words, state, true));
  };
  list.replaceChildren(...[...same.slice(0, 1), ...hits].map(small));
  rove(list);
}

/** The stored images with the query's own content, as one tile before the hits. */
export function showSame(list, same, state) {
  const [{ id, label }, ...others] = same;
  const words = id === state.id ? "Searched with this" : HERE;
  const tile = link(id, `${words}: ${nameOf(id)}`, state, false);
  tile.append(el("b", {}, words));
  const copied = others.map((each) => nameOf(each.id));
  list.prepend(el("li", { class: "same", "data-id": id }, tile, facts(id, [], label, copied)));
  rove(list);
}

/** Add rows of images to start from, each of one image or of several that belong together; returns their items. */
export function addRows(list, rows, state) {
  const first = list.childElementCount ? 0 : columns(list);
  const items = rows.map((points, index) => {
    const tiles = points.map((point) => sampleTile(point, state, index >= first));
    return tiles.length === 1 ? tiles[0] : el("li", { class: "group" }, el("ul", { role: "list" }, ...tiles));
  });
  for (const tile of items.flatMap((item) => [...item.querySelectorAll("a")])) tile.tabIndex = -1;
  list.append(...items);
  if (first) rove(list); // of the others none is reached by Tab
  return items;
}

function sampleTile({ id, label, note }, state, lazy) {
  const words = [nameOf(id), note, label && `label ${label}`].filter(Boolean).join(", ");
  const caption = note && el("p", { class: "note", title: words }, el("b", {}, note), el("br"), nameOf(id));
  return el("li", { "data-id": id }, link(id, words, state, lazy, true), caption);
}

/** Empty tiles, while an answer takes long. */
export function showSkeleton(list, number) {
  list.classList.remove("far");
  const tile = () => el("li", { class: "waiting", "aria-hidden": "true" }, el("span", { class: "mat" }));
  list.replaceChildren(...Array.from({ length: Math.min(number, SKELETON) }, tile));
}

/** Update the links to the number of results and the filters chosen now. */
export function relink(list, state) {
  for (const item of list.querySelectorAll("[data-id]")) {
    item.querySelector("a").href = toUrl(queryFor(state, { id: item.dataset.id }));
  }
}

/** Images in a row. The first row is loaded at once, the others when they are about to be scrolled into view. */
export const columns = (list) => getComputedStyle(list).gridTemplateColumns.split(" ").length;

/** How many images fill whole rows: that many, or a few more. */
export const fill = (list, number) => columns(list) * Math.ceil(number / columns(list));

function result(hit, rank, state, lazy) {
  const label = hit.label ?? null;
  const where = nameOf(hit.id);
  const near = [nearnessFigures(hit), nearnessWord(hit), label && `label ${label}`].filter(Boolean).join(", ");
  const words = `Result ${rank}: ${where}, ${near}`;
  return el(
    "li",
    { class: "hit", "data-id": hit.id },
    link(hit.id, words, state, lazy),
    gauge(hit),
    facts(
      hit.id,
      [el("span", { class: "rank" }, rank), nearness(hit)],
      label,
      hit.copies ?? [],
      hit.stale === true,
    ),
    tools(hit.id, state),
  );
}

/** Two lines under an image, the same for all, so that rows are even: facts, then the path. */
function facts(id, first, label, names, stale = false) {
  const where = nameOf(id);
  return el(
    "div",
    { class: "caption" },
    el("p", { class: "facts" }, ...first, label && el("span", { class: "label", title: label }, label)),
    el(
      "p",
      { class: "path" },
      stale ? el("b", { title: "Its file is no longer an image" }, "stale") : null,
      copies(names),
      ...parts(where),
    ),
  );
}

/** The folder, of which the styles cut off the end, and the file's name: both can be read. */
function parts(where) {
  const cut = where.lastIndexOf("/") + 1;
  return [
    el("span", { class: "folder", title: where }, where.slice(0, cut)),
    el("span", { title: where }, shorten(where.slice(cut), NAME)),
  ];
}

/** An image: a click opens the viewer, or, with `go`, searches with it, as does its address in another tab. */
const link = (id, words, state, lazy, go = false) =>
  el(
    "a",
    {
      class: "mat",
      href: toUrl(queryFor(state, { id })),
      [go ? "data-go" : "data-view"]: true,
      "aria-label": words,
      title: go ? words : null,
    },
    storedImage(id, { lazy }),
  );

function copies(names) {
  if (!names.length) return null;
  return el("span", { title: names.join("\n") }, `+${count(names.length, "copy", "copies")}`);
}

/** Buttons over the image, seen on hover and focus. */
function tools(id, state) {
  const examples = ["like", "unlike"].map((list) => example(id, list, state));
  return el("div", { class: "tools" }, select(id), similar(id, state), ...examples);
}

function select(id) {
  const words = { "aria-label": `Select: ${nameOf(id)}`, title: "Select" };
  return el("button", { type: "button", "data-select": true, "aria-pressed": "false", ...words }, icon("select"));
}

function similar(id, state) {
  const words = `Find similar: ${nameOf(id)}`;
  const href = toUrl(queryFor(state, { id }));
  return el("a", { href, "data-go": true, "aria-label": words, title: "Find similar" }, icon("similar"));
}

function example(id, list, state) {
  const title = list === "like" ? "More like this" : "Less like this";
  const pressed = String(state[list].includes(id));
  const words = { "aria-label": `${title}: ${nameOf(id)}`, title };
  return el("button", { type: "button", "data-example": list, "aria-pressed": pressed, ...words }, icon(list));
}
