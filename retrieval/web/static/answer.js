// Shows an answer, and explains its numbers in words.

import { announce, hideMessage, showMessage } from "./banner.js";
import { filterText } from "./conditions.js";
import { $, count, sentence } from "./dom.js";
import { HERE, fill, showHits, showSame } from "./grid.js";
import { remember } from "./images.js";
import { nameQuery, showReconstruction } from "./query.js";
import { kind } from "./state.js";

const NEAREST = "Nearest first.";
const EXAMPLES = "Nearest first, beginning with images that are nearer to one you like than to any you do not.";
const BAR = "The fuller the bar, the nearer, compared with neighbours in this collection.";
const DISTANCE = "The number is the distance between the embeddings of two images: smaller is nearer.";

/**
 * Show an answer, of its hits as many as fill rows; returns those.
 *
 * clear: removes the filters
 */
export function showAnswer(state, { hits: found, note, weak, reconstruction, same }, clear) {
  const tile = same?.length ? 1 : 0;
  const hits = found.slice(0, fill($("#results"), state.k + tile) - tile);
  const some = hits.length > 0;
  const here = tile ? `${HERE}: ${same[0].source}/${same[0].path}. ` : "";
  remember([...hits, ...(same ?? [])]);
  showHits($("#results"), hits, state, Boolean(note) && some);
  if (here) showSame($("#results"), same, state);
  showReconstruction(reconstruction);
  nameQuery(state, same ? same.length > 0 : null);
  showWeakness(some && weak);
  $("#title").textContent = some ? count(hits.length, "nearest image") : here ? "Nothing else found" : "Nothing found";
  $("#meaning").hidden = !some;
  $("#meaning").textContent = meaning(state, hits);
  const text = note ? sentence(note) : some ? "" : "Nothing was found.";
  if (text) {
    const hint = note && some ? "The nearest images are shown anyway." : "";
    const filtered = !some && filterText(state) !== "";
    showMessage("info", text, { hint, actions: filtered ? [["Clear the filters", clear]] : [] });
  } else {
    hideMessage();
  }
  announce(`${here}${text} ${$("#weak").textContent} ${count(hits.length, "result")}`);
  return hits;
}

/** Show the warning that goes with the hits, or none. */
export function showWeakness(weak) {
  $("#weak").hidden = !weak;
  $("#weak").textContent = weak ? sentence(weak) : "";
}

/** Show that there is no answer; what was shown before belongs to another query. */
export function showNone() {
  $("#results").replaceChildren();
  $("#meaning").hidden = true;
  $("#title").textContent = "No results";
  showWeakness(null);
  showReconstruction(null);
}

function meaning(state, hits) {
  const words = kind(state) === "like" ? EXAMPLES : NEAREST;
  return `${words} ${hits.some((hit) => typeof hit.percentile === "number") ? BAR : DISTANCE}`;
}
