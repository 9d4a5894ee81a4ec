// Several uploads at once: a row of results for each.

import { search } from "./api.js";
import { filterText } from "./conditions.js";
import { $, count, el, shorten } from "./dom.js";
import { showRow } from "./grid.js";
import { imageElement, remember, storedImage } from "./images.js";
import { explain } from "./problems.js";
import { queryFor, uploadOf } from "./state.js";

const HITS = 8;
const AT_ONCE = 2;
const NAME = 40;

/** Search with each of the uploads; resolves when all have their row. signal: ends it. */
export async function runBatch(state, facts, signal) {
  const rows = state.batch.map((key) => row(key));
  $("#batch").replaceChildren(...rows);
  $("#title").textContent = `Searching with ${count(rows.length, "image")}…`;
  const waiting = state.batch.map((key, index) => [key, rows[index]]);
  const here = [];
  const work = async () => {
    for (let next = waiting.shift(); next && !signal.aborted; next = waiting.shift()) {
      here.push(await fill(state, ...next, facts, signal));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (signal.aborted) return;
  const found = here.filter(Boolean).length;
  $("#title").textContent = `${count(rows.length, "image")}: ${found || "none"} of them in the collection`;
}

function row(key) {
  const { url, name } = uploadOf(key);
  const words = `Search with ${name}`;
  const button = el("button", { type: "button", class: "mat", "data-upload": key, "aria-label": words, title: words });
  button.append(imageElement(url));
  const heading = el("p", { class: "faint", title: name }, shorten(name, NAME));
  return el("li", { "aria-busy": "true" }, button, el("div", {}, heading, el("ol", { role: "list", class: "row" })));
}

/** Search for one row; returns whether the very image is in the collection. */
async function fill(state, key, item, facts, signal) {
  const { file } = uploadOf(key);
  const asked = { ...queryFor(state, { upload: key }), k: HITS };
  const said = item.querySelector("p");
  let same = false;
  try {
    const found = await search(asked, { file, filter: filterText(state), signal });
    same = found.same.length > 0;
    remember([...found.hits, ...found.same]);
    // A format that browsers do not draw (TIFF, HEIC, PGM): the service does.
    if (same) item.querySelector(".mat .nothing")?.replaceWith(storedImage(found.same[0].id));
    showRow(item.querySelector("ol"), found, asked);
    said.append(same ? " · this very image is here" : " · no identical file is here");
    if (found.note) said.append(` · ${found.note}`);
  } catch (problem) {
    if (signal.aborted) return false;
    said.append(` · ${explain(problem, facts).text}`);
  }
  item.removeAttribute("aria-busy");
  return same;
}
