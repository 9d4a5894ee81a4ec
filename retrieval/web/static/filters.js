// The filters: labels and sources with their counts, path, date, size, and a line of the filter language.

import { call } from "./api.js";
import { NONE, countConditions, placeIn } from "./conditions.js";
import { $, count, el } from "./dom.js";
import { SIZES } from "./state.js";

const NAMES = { label: "Labels", source: "Sources" };
const FINDABLE = 8; // from so many values on there is a search box
const MOST = 100; // values in the service's answer; of more it finds those that contain a text
const TYPING = 250; // milliseconds after a key until the service is asked

let facets = { label: [], source: [] };
let shown = null; // the counts among the results, by field and value
let sought = "";

const lines = {
  path: line("path", "Path begins with", { type: "text", placeholder: "2024/" }),
  from: line("from", "File date from", { type: "date" }),
  to: line("to", "File date until", { type: "date" }),
  size: line("size", "Pixels wide or high, at least", { type: "number", min: 1, max: 99999, placeholder: "640" }),
  where: line("where", "Filter", {
    type: "text",
    placeholder: "label=7 and width>=640",
    "aria-describedby": "where-error",
  }),
};
const error = el("p", { id: "where-error", role: "alert" });
const seek = el("input", { type: "search", "aria-label": "Find a label or source", placeholder: "Find" });
const ticks = el("div");

/** Set the function that is called with what was chosen: `{k}` or some of the conditions. */
export function whenChanged(changed) {
  $("#filters").open = matchMedia("(min-width: 801px)").matches; // on a narrow screen they would hide the results
  $("#filter-fields").replaceChildren(
    seek,
    ticks,
    el("div", { class: "lines" }, ...Object.values(lines).map(({ row }) => row), error),
  );
  $("#k").addEventListener("change", (event) => changed({ k: Number(event.target.value) }));
  $("#filter-fields").addEventListener("change", ({ target }) => {
    if (target === seek) return;
    if (target.type === "checkbox") changed({ label: chosen("label"), source: chosen("source") });
    else changed({ [target.name]: target.value.trim() });
  });
  $("#filters-clear").addEventListener("click", () => {
    $("#filters summary").focus();
    changed(NONE);
  });
  let timer = 0;
  seek.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(find, TYPING);
  });
}

/** Show the service's counts. */
export function setFacets(fresh, state) {
  facets = Object.fromEntries(Object.keys(NAMES).map((field) => [field, fresh[field] ?? []]));
  drawTicks(state);
  $("#filters").hidden = false;
}

/** Show the conditions of the query. */
export function showChoice(state) {
  showSize(state.k);
  const all = boxes();
  const wanted = Object.keys(NAMES).flatMap((field) => state[field].map((value) => [field, value]));
  if (wanted.every(([field, value]) => all.some((box) => box.name === field && box.value === value))) {
    for (const box of all) box.checked = state[box.name].includes(box.value);
  } else {
    drawTicks(state);
  }
  showNumber(state);
  for (const [name, { input }] of Object.entries(lines)) if (input.value !== state[name]) input.value = state[name];
  showPlace(state, []);
}

/** Show how many of the results have each value; null where nothing was searched. */
export function showCounts(hits) {
  shown = hits && Object.fromEntries(Object.keys(NAMES).map((field) => [field, tally(hits, field)]));
  if (ticks.contains(document.activeElement)) {
    for (const box of boxes()) box.parentElement.querySelector(".number").replaceChildren(...number(box));
  } else {
    drawTicks({ label: chosen("label"), source: chosen("source") });
  }
}

/** Point at the place of an error in the line of the filter language; `context` is empty where there is none. */
export function showPlace(state, context) {
  const place = placeIn(state.where, context);
  const { input } = lines.where;
  error.replaceChildren(...(place === null ? [] : [el("code", {}, `${state.where}\n${" ".repeat(place)}^`)]));
  input.toggleAttribute("aria-invalid", place !== null);
  if (place !== null) $("#filters").open = true;
}

function line(name, words, attributes) {
  const input = el("input", { name, autocomplete: "off", spellcheck: "false", ...attributes });
  return { input, row: el("label", {}, words, input) };
}

const chosen = (field) => boxes().filter((box) => box.name === field && box.checked).map((box) => box.value);
const boxes = () => [...ticks.querySelectorAll("input")];

function tally(hits, field) {
  const counts = new Map();
  for (const hit of hits) counts.set(String(hit[field]), (counts.get(String(hit[field])) ?? 0) + 1);
  return counts;
}

/** The number beside a value: `3 of 25` where three of the results have it. */
function number(box) {
  const some = shown?.[box.name].get(box.value);
  const total = Number(box.dataset.count).toLocaleString("en");
  return some ? [el("b", {}, some), ` of ${total}`] : [total];
}

function showSize(k) {
  const sizes = [...new Set([...SIZES, k])].sort((a, b) => a - b);
  $("#k").replaceChildren(...sizes.map((size) => el("option", { value: size }, size)));
  $("#k").value = String(k);
}

function showNumber(state) {
  const many = countConditions(state);
  $("#filters summary").textContent = many ? `Filters (${many})` : "Filters";
  $("#filters-clear").hidden = many === 0;
}

/** Show the values that contain what was typed; of more than the service sends at once, it is asked for them. */
async function find() {
  sought = seek.value.trim().toLowerCase();
  const ticked = { label: chosen("label"), source: chosen("source") };
  if (Object.values(facets).some((values) => values.length >= MOST) || seek.dataset.asked) {
    seek.dataset.asked = "yes";
    const asked = sought;
    const fresh = await call(`./api/facets?contains=${encodeURIComponent(asked)}`, { ask: false }).catch(() => null);
    if (!fresh || asked !== sought) return;
    facets = fresh;
  }
  drawTicks(ticked);
}

function drawTicks(state) {
  const fields = Object.keys(NAMES).map((field) => {
    const all = facets[field].map(({ value, count: many }) => [String(value), many]);
    const values = all.filter(([value]) => value.toLowerCase().includes(sought) || state[field].includes(value));
    // A value from a link can be unticked even if no image has it any more.
    const others = state[field].filter((value) => !all.some(([each]) => each === value));
    const among = ([value]) => shown?.[field].get(value) ?? 0;
    values.sort((a, b) => among(b) - among(a));
    return fieldset(field, [...others.map((value) => [value, 0]), ...values], state);
  });
  seek.hidden = !sought && Object.values(facets).every((values) => values.length < FINDABLE);
  ticks.replaceChildren(...fields.filter(Boolean));
  if (!ticks.childElementCount && sought) ticks.append(el("p", { class: "faint" }, "No label and no source has this."));
}

function fieldset(field, values, state) {
  if (!values.length) return null;
  const rows = values.map(([value, many]) => {
    const checked = state[field].includes(value);
    const box = el("input", { type: "checkbox", name: field, value, checked, "data-count": many });
    const title = `${value}: ${count(many, "image")}`;
    const words = [el("span", { class: "value" }, value), el("span", { class: "number" }, ...number(box))];
    return el("label", { class: "tick", title }, box, ...words);
  });
  return el("fieldset", {}, el("legend", {}, NAMES[field]), el("div", { class: "ticks" }, ...rows));
}
