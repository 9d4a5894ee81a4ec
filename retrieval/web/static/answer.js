// An answer, and what it means in words.

import { $, count, sentence } from "./dom.js";
import { showHits } from "./grid.js";
import { learn } from "./picture.js";
import { showReconstruction } from "./query.js";
import { announce, hush, say } from "./say.js";
import { filterText, kind } from "./state.js";

const DISTANCE = "Nearest first. Distance is Euclidean, between the codes of two pictures: smaller is nearer.";
const EXAMPLES =
  "Nearest first, those that are nearer to a picture you like than to any you do not. " +
  "Distance is Euclidean, to the nearest one you like: smaller is nearer.";
const PERCENTILE = "p3: as near as the closest 3% of neighbours here.";

/** word: something else that there is to say · clear: what takes the filters away. */
export function showAnswer(state, { hits, note, reconstruction }, { word, clear }) {
  const some = hits.length > 0;
  learn(hits);
  showHits($("#results"), hits, state, Boolean(note) && some);
  showReconstruction(reconstruction);
  $("#title").textContent = some ? count(hits.length, "nearest picture") : "Nothing found";
  $("#meaning").hidden = !some;
  $("#meaning").textContent = meaning(state, hits);
  const text = note ? sentence(note) : some ? word : "Nothing was found.";
  if (text) {
    const hint = note && some ? "The nearest are shown all the same." : "";
    const filtered = !some && filterText(state) !== "";
    say("info", text, { hint, actions: filtered ? [["Clear the filters", clear]] : [] });
  } else {
    hush();
  }
  announce(`${text ?? ""} ${count(hits.length, "result")}`);
}

/** No answer: what was shown before belongs to another question. */
export function showNone() {
  $("#results").replaceChildren();
  $("#meaning").hidden = true;
  $("#title").textContent = "No results";
  showReconstruction(null);
}

function meaning(state, hits) {
  const words = kind(state) === "like" ? EXAMPLES : DISTANCE;
  return hits.some((hit) => typeof hit.percentile === "number") ? `${words} ${PERCENTILE}` : words;
}
