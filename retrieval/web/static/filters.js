// The filters: labels and sources with their counts. And the number of results.

import { $, count, el } from "./dom.js";
import { SIZES } from "./state.js";

const NAMES = { label: "Labels", source: "Sources" };

let facets = { label: [], source: [] };

/** Set the function that is called with what was chosen: `{k}` or `{label, source}`. */
export function whenChanged(changed) {
  $("#filters").open = matchMedia("(min-width: 801px)").matches; // on a narrow screen they would hide the results
  $("#k").addEventListener("change", (event) => changed({ k: Number(event.target.value) }));
  $("#filter-fields").addEventListener("change", () => changed({ label: chosen("label"), source: chosen("source") }));
  $("#filters-clear").addEventListener("click", () => {
    $("#filters summary").focus();
    changed({ label: [], source: [] });
  });
}

/** Show the service's counts. */
export function setFacets(fresh, state) {
  facets = Object.fromEntries(Object.keys(NAMES).map((field) => [field, fresh[field] ?? []]));
  draw(state);
}

/** Tick the boxes of the query's filters. */
export function showChoice(state) {
  showSize(state.k);
  const all = boxes();
  const wanted = Object.keys(NAMES).flatMap((field) => state[field].map((value) => [field, value]));
  if (wanted.every(([field, value]) => all.some((box) => box.name === field && box.value === value))) {
    for (const box of all) box.checked = state[box.name].includes(box.value);
    showNumber(wanted.length);
  } else {
    draw(state);
  }
}

const chosen = (field) => boxes().filter((box) => box.name === field && box.checked).map((box) => box.value);
const boxes = () => [...document.querySelectorAll("#filter-fields input")];

function showSize(k) {
  const sizes = [...new Set([...SIZES, k])].sort((a, b) => a - b);
  $("#k").replaceChildren(...sizes.map((size) => el("option", { value: size }, size)));
  $("#k").value = String(k);
}

function showNumber(number) {
  $("#filters summary").textContent = number ? `Filters (${number})` : "Filters";
  $("#filters-clear").hidden = number === 0;
}

function draw(state) {
  const fields = Object.keys(NAMES).map((field) => {
    const values = facets[field].map(({ value, count: many }) => [String(value), many]);
    // A value from a link can be unticked even if no image has it any more.
    const others = state[field].filter((value) => !values.some(([each]) => each === value));
    return fieldset(field, [...others.map((value) => [value, 0]), ...values], state);
  });
  $("#filter-fields").replaceChildren(...fields.filter(Boolean));
  $("#filters").hidden = fields.every((field) => !field);
  showNumber(state.label.length + state.source.length);
}

function fieldset(field, values, state) {
  if (!values.length) return null;
  const ticks = values.map(([value, many]) => {
    const box = el("input", { type: "checkbox", name: field, value, checked: state[field].includes(value) });
    const number = el("span", { class: "number" }, many.toLocaleString("en"));
    const title = `${value}: ${count(many, "image")}`;
    return el("label", { class: "tick", title }, box, el("span", { class: "value" }, value), number);
  });
  return el("fieldset", {}, el("legend", {}, NAMES[field]), el("div", { class: `ticks by-${field}` }, ...ticks));
}
