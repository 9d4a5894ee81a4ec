// The page. The address holds the query; everything that is shown follows from it.

import { showAnswer, showNone } from "./answer.js";
import { Problem, call, search, whenLocked } from "./api.js";
import { hush, isRetrying, say } from "./banner.js";
import { $ } from "./dom.js";
import { fitCanvas, whenDrawn } from "./draw.js";
import { setFacets, showChoice, whenChanged } from "./filters.js";
import { relink, showSample, showSkeleton } from "./grid.js";
import { showHeader } from "./header.js";
import { whenGiven } from "./inputs.js";
import { askKey, isAsking } from "./login.js";
import { known, learn } from "./picture.js";
import { explain, explainState, tooLarge } from "./problems.js";
import { nameQuery, showQuery, titleOf } from "./query.js";
import { asking, filterText, fromUrl, keep, kept, kind, toUrl, withExample, withoutExample } from "./state.js";

const LATE = 300; // milliseconds until a skeleton is shown, until a message is, and between two status requests
const SLOW = 3000;
const LOOK = 60_000;
const SAMPLE = 12;
const UPLOAD = 20 * 2 ** 20; // bytes, until the service says otherwise

const [answer, results, sample, title, others] = ["#answer", "#results", "#sample", "#title", "#others"].map($);
let state = fromUrl("");
let status = null;
let running = null;
let boots = 0;
let deals = 0;

const START = "Or start from one of these";
const atStart = () => kind(state) === "start";

/** Go to another query, with an entry in the history. `move`: scroll to its results. */
function go(next, { replace = false, move = false, word = null } = {}) {
  const same = toUrl(next) === toUrl(state) && next.upload === state.upload;
  if (!replace && !same) history.replaceState({ ...history.state, y: scrollY }, "");
  history[replace || same ? "replaceState" : "pushState"]({ upload: next.upload }, "", toUrl(next));
  show(next, { word });
  const { top } = answer.getBoundingClientRect();
  if (move && atStart()) scrollTo(0, 0);
  else if (move && (top < 0 || top > innerHeight * 0.6)) answer.scrollIntoView();
}

/** Show the query of a history entry. */
function open(entry, y) {
  const upload = kept(entry?.upload) ? entry.upload : null;
  const next = fromUrl(location.search, upload);
  show(next, { y });
  if (!atStart()) return;
  if (entry?.upload) {
    history.replaceState(null, "", toUrl(next));
    say("info", "Your image is not kept when the page is reloaded.", { hint: "Choose it once more." });
  } else if (/[?&](id|like)=/.test(location.search)) {
    say("info", "This address names no image.", { hint: "Choose another." });
  }
}

function show(next, { y = null, word = null } = {}) {
  const held = answer.contains(document.activeElement);
  running?.abort();
  running = null;
  state = next;
  showChoice(state);
  showQuery(state);
  const start = atStart();
  if (start || results.hidden) title.textContent = start ? START : "Searching…";
  sample.hidden = others.hidden = !start;
  results.hidden = start;
  $("#meaning").hidden ||= start;
  if (held) title.focus({ preventScroll: true });
  retitle();
  if (start) home(y);
  else find({ y, word });
}

const retitle = () => (document.title = atStart() ? "retrieval" : `${titleOf(state)} – retrieval`);

function home(y) {
  hush();
  results.replaceChildren();
  relink(sample, state);
  if (!sample.childElementCount) boot();
  else sayState();
  if (y !== null) scrollTo(0, y);
}

async function find({ y = null, word = null, quietly = false } = {}) {
  running?.abort();
  const asked = state;
  const mine = (running = new AbortController());
  const inTime = (act) => () => mine === running && !isAsking() && act();
  const late = quietly ? [] : [setTimeout(inTime(wait), LATE), setTimeout(inTime(saySlow), SLOW)];
  if (!quietly) hush();
  results.setAttribute("aria-busy", "true");
  identify(asked, !quietly);
  let found = null;
  try {
    const [file, filter] = [kept(asked.upload)?.file, filterText(asked)];
    const reconstruct = status?.state !== "no-model";
    found = await search(asked, { file, filter, reconstruct, signal: mine.signal, ask: !quietly });
  } catch (problem) {
    if (mine === running) failed(problem);
  } finally {
    late.forEach(clearTimeout);
    if (mine === running) results.removeAttribute("aria-busy");
  }
  if (mine !== running || !found) return;
  showAnswer(asked, found, { word, clear });
  if (y !== null) scrollTo(0, y);
}

function wait() {
  title.textContent = "Searching…";
  showSkeleton(results, state.k);
}

function saySlow() {
  say("wait", "Still working…", { hint: "This takes longer than usual.", actions: [["Cancel", cancel]] });
}

function cancel() {
  running?.abort();
  running = null;
  results.removeAttribute("aria-busy");
  showNone();
  say("info", "The search was cancelled.", { actions: [["Search again", () => find()]] });
}

/** Fetch names and labels of images that are known by their id only. */
async function identify(asked, ask) {
  const ids = [asked.id, ...asked.like, ...asked.unlike].filter((id) => id && !known(id));
  if (!ids.length) return;
  const answers = await Promise.allSettled(ids.map((id) => call(`./api/points/${encodeURIComponent(id)}`, { ask })));
  learn(answers.filter((each) => each.status === "fulfilled").map((each) => each.value));
  if (asked !== state) return;
  nameQuery(state);
  retitle();
}

/** Load everything: at first, after a key was entered, and at each retry. */
async function boot({ quietly = false } = {}) {
  const mine = (boots += 1);
  const ask = !quietly;
  readFacets(ask);
  if (!atStart()) {
    readStatus(ask);
    find({ quietly });
    return;
  }
  // Images that are shown already stay, so that a retry does not disturb the user.
  const dealt = sample.querySelector("a") ? null : deal(ask).catch((problem) => problem);
  const ready = await readStatus(ask);
  const problem = await dealt;
  if (mine !== boots || !atStart() || !ready) return;
  if (problem) failed(problem);
  else if (isRetrying()) hush();
}

/** Fetch the status; returns whether the start page can be used. */
async function readStatus(ask) {
  let fresh = null;
  try {
    fresh = await call("./api/status", { ask });
  } catch (problem) {
    if (atStart()) failed(problem);
    return false;
  }
  const moved = status !== null && status.collection !== fresh.collection;
  status = fresh;
  showHeader(status);
  fitCanvas(status);
  if (moved) readFacets(false);
  return !atStart() || sayState();
}

/** Show what is wrong, if anything is; returns whether all is well. */
function sayState() {
  const wrong = status && explainState(status);
  if (!wrong) return true;
  const kindOf = status.state === "engine-down" ? "error" : "info";
  say(kindOf, wrong.text, { hint: wrong.hint, code: status.state, retry: () => boot({ quietly: true }) });
  return false;
}

async function readFacets(ask) {
  // Without counts there are no filters to choose. Other requests report what is wrong.
  const facets = await call("./api/facets", { ask }).catch(() => null);
  if (facets) setFacets(facets, state);
}

/** Show random images to start from. */
async function deal(ask) {
  const mine = (deals += 1);
  const late = setTimeout(() => sample.childElementCount || showSkeleton(sample, SAMPLE), LATE);
  try {
    const { points } = await call(`./api/sample?n=${SAMPLE}`, { ask });
    if (mine !== deals) return;
    learn(points);
    showSample(sample, points, state);
  } catch (problem) {
    if (!sample.querySelector("a")) sample.replaceChildren();
    throw problem;
  } finally {
    clearTimeout(late);
    if (atStart()) headStart();
  }
}

function headStart() {
  others.hidden = !sample.childElementCount;
  title.textContent = others.hidden ? "No images to start from" : START;
}

function failed(problem) {
  if (!(problem instanceof Problem)) throw problem;
  if (!atStart()) showNone();
  const facts = { bytes: status?.upload_bytes ?? UPLOAD, filtered: filterText(state) !== "" };
  const { text, hint, seconds, action } = explain(problem, facts);
  const actions = {
    again: ["Try again", () => boot()],
    key: ["Enter the key", () => boot()],
    start: ["Start over", () => go(fromUrl(""))],
    clear: ["Clear the filters", clear],
  };
  const retry = seconds ? () => boot({ quietly: true }) : null;
  say("error", text, { hint, code: problem.status, actions: action ? [actions[action]] : [], retry, seconds });
}

const clear = () => go({ ...state, label: [], source: [] }, { replace: atStart() });

function take(file, many = 1) {
  const most = status?.upload_bytes ?? UPLOAD;
  if (file.size > most) {
    const { text, hint } = tooLarge(most, file.size);
    say("error", text, { hint, code: 413 });
  } else if (!file.size) {
    say("error", "This file is empty.", { hint: "Choose another image.", code: 422 });
  } else {
    const word = many > 1 ? `Searched with the first of ${many} images; only one can be used at a time.` : null;
    go(asking(state, { upload: keep(file) }), { move: true, word });
  }
}

const refuse = (text, hint) => say("error", text, { hint });

whenLocked(askKey);
whenGiven({ take, refuse, follow: (id) => go(asking(state, { id }), { move: true }) });
whenDrawn((file) => (file ? take(file) : refuse("Nothing is drawn yet.", "Draw in the black square first.")));
whenChanged((choice) => go({ ...state, ...choice }, { replace: atStart() }));
others.addEventListener("click", () => deal(true).catch(failed));

document.addEventListener("click", (event) => {
  const { target } = event;
  const link = target.closest("a[data-go]");
  const plain = !event.button && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (link && plain) {
    event.preventDefault();
    go(fromUrl(new URL(link.href).search), { move: true });
  }
  const list = target.closest("[data-example]")?.dataset.example;
  if (list) {
    const { id } = target.closest("[data-id]").dataset;
    go(state[list].includes(id) ? withoutExample(state, id) : withExample(state, id, list), { move: true });
  }
  const removed = target.closest("[data-remove]")?.dataset.remove;
  if (removed) go(withoutExample(state, removed));
});

// A jump to a fragment would add a history entry, and every entry here is a query.
$(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  title.focus();
});

history.scrollRestoration = "manual";
addEventListener("popstate", (event) => open(event.state, event.state?.y ?? 0));
setInterval(() => document.hidden || readStatus(false), LOOK);

open(history.state, null);
if (!atStart()) {
  readStatus(true);
  readFacets(true);
}
