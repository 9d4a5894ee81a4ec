// The page. The address contains the query; everything shown is derived from it.

import { showAnswer, showNone, showWeakness } from "./answer.js";
import { Problem, call, search, whenLocked } from "./api.js";
import { hideMessage, isRetrying, showMessage } from "./banner.js";
import { browse, isShown, showControls, whenBrowsing } from "./browse.js";
import { NONE, filterText } from "./conditions.js";
import { $ } from "./dom.js";
import "./keys.js";
import { setFacets, showChoice, showCounts, showPlace, whenChanged } from "./filters.js";
import { columns, relink, showSkeleton } from "./grid.js";
import { showHeader } from "./header.js";
import { whenGiven } from "./inputs.js";
import { pointOf, remember } from "./images.js";
import { showQuality } from "./nearness.js";
import { explain, explainState, tooLarge } from "./problems.js";
import { nameQuery, showQuery, titleOf } from "./query.js";
import { MOST, UPLOADS, fromUrl, isSame, keepUpload, kind, queryFor, toUrl, uploadOf } from "./state.js";
import { withExample, withoutExample } from "./state.js";
import { showRecent, recentOf } from "./recent.js";

const SKELETON_DELAY = 300; // milliseconds until empty tiles are shown
const MESSAGE_DELAY = 3000; // milliseconds until a message says that it takes long
const STATUS_INTERVAL = 60_000; // milliseconds between two status requests
const NARROW = matchMedia("(max-width: 800px)"); // as in the styles: there the inputs are above the answer
const SPARE = 7; // hits that the last row may want
const UPLOAD = 20 * 2 ** 20; // bytes, until the service says otherwise

const [answer, results, sample, title] = ["#answer", "#results", "#sample", "#title"].map($);
let state = fromUrl("");
let status = null;
let running = null;
let selection = null; // the module, loaded when the first image is selected
let loads = 0;
let across = 0; // columns of the answer shown

const isAsking = () => $("#key-dialog")?.open;
const atStart = () => kind(state) === "start";

/** Go to another query, with an entry in the history. `move`: scroll to its results. */
function navigate(next, { replace = false, move = false } = {}) {
  const same = isSame(next, state);
  if (!replace && !same) history.replaceState({ ...history.state, y: scrollY }, "");
  history[replace || same ? "replaceState" : "pushState"]({ upload: next.upload, batch: next.batch }, "", toUrl(next));
  show(next);
  if (move && atStart()) scrollTo(0, 0);
  else if (move && (NARROW.matches || answer.getBoundingClientRect().top < 0)) answer.scrollIntoView();
}

/** Show the query of a history entry. */
function showEntry(entry, y) {
  const upload = uploadOf(entry?.upload) ? entry.upload : null;
  const batch = (entry?.batch ?? []).filter(uploadOf);
  const next = fromUrl(location.search, upload, batch);
  show(next, { y });
  if (!atStart()) return;
  if (entry?.upload || entry?.batch?.length) {
    history.replaceState(null, "", toUrl(next));
    showMessage("info", "Your image is not kept when the page is reloaded.", { hint: "Choose it once more." });
  } else if (/[?&](id|like)=/.test(location.search)) {
    showMessage("info", "This address contains no image id.", { hint: "Choose another." });
  }
}

function show(next, { y = null } = {}) {
  const held = answer.contains(document.activeElement);
  if ($("#viewer").open) $("#viewer").close("left");
  running?.abort();
  running = null;
  state = next;
  showChoice(state);
  showQuery(state);
  showRecent(state);
  const start = atStart();
  const several = kind(state) === "batch";
  if (!start && results.hidden) title.textContent = "Searching…";
  showControls(state, start);
  results.hidden = start || several;
  $("#batch").hidden = !several;
  $("#meaning").hidden ||= start;
  if (held) title.focus({ preventScroll: true });
  updateTitle();
  if (start) showStart(y);
  else if (several) searchBatch();
  else runSearch({ y });
}

const updateTitle = () => (document.title = atStart() ? "retrieval" : `${titleOf(state)} – retrieval`);

function showStart(y) {
  hideMessage();
  showWeakness(null);
  showCounts(null);
  results.replaceChildren();
  relink(sample, state);
  if (!isShown(state)) load();
  else showState();
  if (y !== null) scrollTo(0, y);
}

async function runSearch({ y = null, quietly = false } = {}) {
  running?.abort();
  const asked = state;
  const mine = (running = new AbortController());
  const inTime = (act) => () => mine === running && !isAsking() && act();
  const delays = [[showSearching, SKELETON_DELAY], [showSlow, MESSAGE_DELAY]];
  const late = quietly ? [] : delays.map(([act, delay]) => setTimeout(inTime(act), delay));
  if (!quietly) hideMessage();
  results.setAttribute("aria-busy", "true");
  fetchNames(asked, !quietly);
  let found = null;
  try {
    const [file, filter] = [uploadOf(asked.upload)?.file, filterText(asked)];
    const reconstruct = status?.state !== "no-model";
    const k = Math.min(MOST, asked.k + SPARE);
    found = await search({ ...asked, k }, { file, filter, reconstruct, signal: mine.signal, ask: !quietly });
  } catch (problem) {
    if (mine === running) showProblem(problem);
  } finally {
    late.forEach(clearTimeout);
    if (mine === running) results.removeAttribute("aria-busy");
  }
  if (mine !== running || !found) return;
  across = columns(results);
  showCounts(showAnswer(asked, found, clear));
  selection?.then((selected) => selected.showSelection());
  if (y !== null) scrollTo(0, y);
}

async function searchBatch() {
  const mine = (running = new AbortController());
  hideMessage();
  showWeakness(null);
  results.replaceChildren();
  $("#meaning").hidden = true;
  const { runBatch } = await import("./batch.js");
  await runBatch(state, { bytes: status?.upload_bytes ?? UPLOAD, filtered: filterText(state) !== "" }, mine.signal);
}

function showSearching() {
  title.textContent = "Searching…";
  showSkeleton(results, state.k);
}

function showSlow() {
  showMessage("wait", "Still working…", { hint: "This takes longer than usual.", actions: [["Cancel", cancel]] });
}

function cancel() {
  running?.abort();
  running = null;
  results.removeAttribute("aria-busy");
  showNone();
  showMessage("info", "The search was cancelled.", { actions: [["Search again", () => runSearch()]] });
}

/** Fetch names and labels of images that are known by their id only. */
async function fetchNames(asked, ask) {
  const ids = [asked.id, ...asked.like, ...asked.unlike].filter((id) => id && !pointOf(id));
  if (!ids.length) return;
  const answers = await Promise.allSettled(ids.map((id) => call(`./api/points/${encodeURIComponent(id)}`, { ask })));
  remember(answers.filter((each) => each.status === "fulfilled").map((each) => each.value));
  if (asked !== state) return;
  nameQuery(state);
  updateTitle();
}

/** Load everything: at first, after a key was entered, and at each retry. */
async function load({ quietly = false } = {}) {
  const mine = (loads += 1);
  const ask = !quietly;
  readFacets(ask);
  if (!atStart()) {
    readStatus(ask);
    if (kind(state) === "batch") searchBatch();
    else runSearch({ quietly });
    return;
  }
  // Images that are already shown stay, so that a retry does not disturb the user.
  const loading = isShown(state) ? null : browse(state, { ask }).catch((problem) => problem);
  const ready = await readStatus(ask);
  const problem = await loading;
  if (mine !== loads || !atStart() || !ready) return;
  if (problem) showProblem(problem);
  else if (isRetrying()) hideMessage();
}

/** Fetch the status; returns whether the start page can be used. */
async function readStatus(ask) {
  let fresh = null;
  try {
    fresh = await call("./api/status", { ask });
  } catch (problem) {
    if (atStart()) showProblem(problem);
    return false;
  }
  const moved = status !== null && status.collection !== fresh.collection;
  status = fresh;
  showHeader(status);
  showQuality(status);
  if (status.channels === 1) import("./draw.js").then(({ fitCanvas }) => fitCanvas(status, searchWithDrawing));
  if (moved) readFacets(false);
  return !atStart() || showState();
}

/** Show the problem that the status reports; returns whether there is none. */
function showState() {
  const wrong = status && explainState(status);
  if (!wrong) return true;
  const kindOf = status.state === "engine-down" ? "error" : "info";
  showMessage(kindOf, wrong.text, { hint: wrong.hint, code: status.state, retry: () => load({ quietly: true }) });
  return false;
}

async function readFacets(ask) {
  // Without counts there are no filters to choose. Other requests report what is wrong.
  const facets = await call("./api/facets", { ask }).catch(() => null);
  if (facets) setFacets(facets, state);
}

function showProblem(problem) {
  if (!(problem instanceof Problem)) throw problem;
  if (!atStart()) showNone();
  showCounts(null);
  const facts = { bytes: status?.upload_bytes ?? UPLOAD, filtered: filterText(state) !== "" };
  const { text, hint, seconds, action } = explain(problem, facts);
  const actions = {
    again: ["Try again", () => load()],
    key: ["Enter the key", () => load()],
    start: ["Start over", () => navigate(fromUrl(""))],
    clear: ["Clear the filters", clear],
  };
  showPlace(state, problem.context);
  const retry = seconds ? () => load({ quietly: true }) : null;
  showMessage("error", text, {
    ...{ hint, detail: problem.context.join("\n"), code: problem.status, retry, seconds },
    actions: action ? [actions[action]] : [],
  });
}

/** Open the viewer on an image of a grid. */
async function look(item) {
  const all = [...item.parentElement.querySelectorAll(":scope > [data-id]")].map((each) => each.dataset.id);
  const { view } = await import("./viewer.js");
  const { state: served, dashboard } = status ?? {};
  view(item.dataset.id, all, state, { dashboard, model: served === "ready" });
  selection?.then((selected) => selected.showSelection());
}

/** Select an image, or no longer. */
function select(id) {
  selection ??= import("./select.js").then((module) => {
    module.whenSelected((ids) => navigate(queryFor(state, { like: ids }), { move: true }));
    return module;
  });
  selection.then(({ toggle }) => toggle(id));
}

const clear = () => navigate({ ...state, ...NONE }, { replace: atStart() });

/** Search with a file, or with each of several. */
function searchWithFiles(files) {
  const most = status?.upload_bytes ?? UPLOAD;
  const good = files.filter((file) => file.size && file.size <= most);
  if (files.length > 1 && good.length) {
    navigate(queryFor(state, { batch: good.slice(0, UPLOADS).map(keepUpload) }), { move: true });
    const left = files.length - Math.min(good.length, UPLOADS);
    const hint = `They are empty, too large, or more than ${UPLOADS}.`;
    if (left) showMessage("info", `${left} of ${files.length} files are left out.`, { hint });
  } else if (good.length) {
    navigate(queryFor(state, { upload: keepUpload(good[0]) }), { move: true });
  } else if (files[0].size) {
    const { text, hint } = tooLarge(most, files[0].size);
    showMessage("error", text, { hint, code: 413 });
  } else {
    showMessage("error", "This file is empty.", { hint: "Choose another image.", code: 422 });
  }
}

const showError = (text, hint) => showMessage("error", text, { hint });

whenLocked(async () => (await import("./login.js")).askKey());
const searchWithId = (id) => navigate(queryFor(state, { id }), { move: true });
const searchWithDrawing = (file) =>
  file ? searchWithFiles([file]) : showError("Nothing is drawn yet.", "Draw in the black square first.");

whenGiven({ take: searchWithFiles, refuse: showError, follow: searchWithId });
whenChanged((choice) => navigate({ ...state, ...choice }, { replace: atStart() }));
whenBrowsing({
  reorder: (order) => navigate({ ...state, order }, { replace: true }),
  again: () => browse(state).catch(showProblem),
  search: searchWithId,
  filter: (where) => navigate({ ...state, order: "name", where }),
});

document.addEventListener("click", (event) => {
  const { target } = event;
  const link = target.closest("a[data-go]");
  const plain = !event.button && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (link && plain) {
    event.preventDefault();
    navigate(fromUrl(new URL(link.href).search), { move: true });
  }
  const shown = target.closest("a[data-view]");
  if (shown && plain) {
    event.preventDefault();
    look(shown.closest("[data-id]"));
  }
  const upload = target.closest("[data-upload]")?.dataset.upload;
  if (upload) navigate(queryFor(state, { upload }), { move: true });
  const again = recentOf(target);
  if (again) navigate(again, { move: true });
  if (target.closest("[data-select]")) select(target.closest("[data-id]").dataset.id);
  const list = target.closest("[data-example]")?.dataset.example;
  if (list) {
    const { id } = target.closest("[data-id]").dataset;
    navigate(state[list].includes(id) ? withoutExample(state, id) : withExample(state, id, list), { move: true });
  }
  const removed = target.closest("[data-remove]")?.dataset.remove;
  if (removed) navigate(withoutExample(state, removed));
});

$("#options-toggle").addEventListener("click", ({ target }) => {
  const open = $("#options").classList.toggle("open");
  target.setAttribute("aria-expanded", String(open));
});

// A jump to a fragment would add a history entry, and every entry here is a query.
$(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  title.focus();
});

history.scrollRestoration = "manual";
addEventListener("resize", () => results.matches(":not([hidden]):has(a)") && columns(results) !== across && runSearch());
addEventListener("popstate", (event) => showEntry(event.state, event.state?.y ?? 0));
setInterval(() => document.hidden || readStatus(false), STATUS_INTERVAL);

showEntry(history.state, null);
if (!atStart()) {
  readStatus(true);
  readFacets(true);
}
