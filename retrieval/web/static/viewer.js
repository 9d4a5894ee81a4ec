// The viewer: one image large, with what is known of it and what can be done with it.

import { copyText } from "./clipboard.js";
import { $, el, icon } from "./dom.js";
import { imageUrl, isLarge, isTiny, nameOf, pointOf, storedImage } from "./images.js";
import { showSelection } from "./select.js";
import { queryFor, toUrl } from "./state.js";

const SWIPE = 48; // pixels
const HIDDEN = ["id", "source", "path", "label", "image_url", "copies", "stale"]; // shown elsewhere, or not at all
const DATE = { dateStyle: "medium", timeStyle: "short" };
const MEGA = 2 ** 20;

const dialog = $("#viewer");
const stage = $("#viewer-stage");
let ids = [];
let at = 0;
let context = {};

/**
 * Show an image.
 *
 * all: ids of the images that the arrows go through
 * query: the state, for the links; dashboard: its URL or null; model: whether there is one, for the reconstruction
 */
export function view(id, all, query, { dashboard, model }) {
  [ids, at, context] = [all, Math.max(0, all.indexOf(id)), { query, dashboard, model }];
  show();
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
}

function show() {
  const id = ids[at];
  const name = nameOf(id);
  dialog.dataset.id = id;
  $("#viewer-name").textContent = name;
  $("#viewer-count").textContent = `${at + 1} of ${ids.length}`;
  $("#viewer-similar").href = toUrl(queryFor(context.query, { id }));
  $("#viewer-file").href = `./images/${encodeURIComponent(id)}/file`;
  $("#viewer-dashboard").hidden = !context.dashboard;
  if (context.dashboard) $("#viewer-dashboard").href = context.dashboard;
  $("#viewer-back").disabled = at === 0;
  $("#viewer-on").disabled = at === ids.length - 1;
  showExample();
  showSelection();
  showImage(id, name);
  showFacts(id);
}

/** First the thumbnail, which is there already, then the large image. */
function showImage(id, name) {
  const image = storedImage(id, { alt: name, id: "viewer-image" });
  stage.replaceChildren(image);
  const large = new Image();
  large.onload = () => ids[at] === id && image.isConnected && (image.src = large.src);
  large.src = largeUrl(id);
  if (ids[at + 1]) new Image().src = largeUrl(ids[at + 1]); // so that the arrow need not wait
  const decoded = $("#viewer-decoded");
  decoded.hidden = true;
  if (!context.model) return;
  const second = el("img", { alt: "The reconstruction", class: isTiny(id) ? "tiny" : null });
  second.onload = () => ids[at] === id && (decoded.hidden = false);
  second.src = `./images/${encodeURIComponent(id)}/reconstruction.png`;
  decoded.querySelector(".mat").replaceChildren(second);
}

/** A photograph as a JPEG of at most 2,048 pixels; a small image as its own pixels. */
const largeUrl = (id) => (isLarge(id) ? imageUrl(id, "jpg", "large") : imageUrl(id, "png"));

function showExample() {
  for (const button of dialog.querySelectorAll("[data-example]")) {
    button.setAttribute("aria-pressed", String(context.query[button.dataset.example].includes(ids[at])));
  }
}

function showFacts(id) {
  const point = pointOf(id) ?? {};
  const { width, height, bytes, mtime_ns: changed, copies = [], label, distance, percentile } = point;
  const rest = Object.entries(point).filter(([name]) => !HIDDEN.includes(name) && !(name in SHOWN));
  const facts = [
    ["Label", label],
    ["Distance", distance?.toFixed(4)],
    ["Percentile", percentile],
    ["Size", width && `${width.toLocaleString("en")} × ${height.toLocaleString("en")} pixels`],
    ["File", bytes && (bytes < MEGA ? `${Math.ceil(bytes / 1024)} KB` : `${(bytes / MEGA).toFixed(1)} MB`)],
    ["Changed", changed && new Date(changed / 1e6).toLocaleString("en-GB", DATE)],
    ["Copies", copies.join("\n")],
    ...rest,
    ["id", id],
  ];
  const known = facts.filter(([, fact]) => fact !== undefined && fact !== null && fact !== "" && fact !== 0);
  const rows = known.flatMap(([name, fact]) => [el("dt", {}, name), el("dd", {}, String(fact))]);
  $("#viewer-facts").replaceChildren(...rows);
}

const SHOWN = { width: 1, height: 1, bytes: 1, mtime_ns: 1, distance: 1, percentile: 1 };

function step(by) {
  const next = at + by;
  if (next < 0 || next >= ids.length) return;
  at = next;
  show();
}

$("#viewer-back").append(icon("back"));
$("#viewer-on").append(icon("on"));
$("#viewer-close").append(icon("close"));
$("#viewer-back").addEventListener("click", () => step(-1));
$("#viewer-on").addEventListener("click", () => step(1));
$("#viewer-close").addEventListener("click", () => dialog.close());
$("#viewer-copy").addEventListener("click", async ({ target }) => {
  target.textContent = (await copyText(nameOf(ids[at]), dialog)) ? "Copied" : "Not copied";
  setTimeout(() => (target.textContent = "Copy path"), 1500);
});
// The dashboard has no address for one image, but its filter takes an id.
$("#viewer-dashboard").addEventListener("click", () => copyText(`id:${ids[at]}`, dialog));
dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
dialog.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1, Home: -at, End: ids.length - 1 - at }[event.key];
  if (by === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  step(by);
});
dialog.addEventListener("close", () => {
  if (dialog.returnValue === "left") return; // for another query, whose results come into view
  [...document.querySelectorAll(`main [data-id="${ids[at]}"] a`)].find((each) => each.checkVisibility())?.focus();
});

let from = null;
stage.addEventListener("pointerdown", (event) => (from = event.pointerType === "touch" ? event.clientX : null));
stage.addEventListener("pointerup", (event) => {
  const moved = from === null ? 0 : event.clientX - from;
  if (Math.abs(moved) > SWIPE) step(moved < 0 ? 1 : -1);
});
