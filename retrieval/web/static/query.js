// Shows the query beside its reconstruction, or the examples as chips.

import { $, el, shorten } from "./dom.js";
import { imageElement, nameOf, pointOf, storedImage } from "./images.js";
import { kind, uploadOf } from "./state.js";

const PATH = 44;
const CHIP = 18;

/** Show the query, before there is an answer. */
export function showQuery(state) {
  const own = queryFigure(state);
  $("#figures").replaceChildren(...(own ? [own] : []));
  $("#asked").hidden = kind(state) === "start";
  showExamples(state);
}

/** Update names that were not known when the query was shown. */
export function nameQuery(state) {
  const own = queryFigure(state);
  if (own) $("#figures figure").replaceWith(own);
  showExamples(state);
}

function queryFigure(state) {
  const what = kind(state);
  const id = "query-image";
  if (what === "upload") {
    const { url, name } = uploadOf(state.upload);
    return figure(imageElement(url, { id, alt: "Your image" }), "Your image", name);
  }
  if (what !== "id") return null;
  const name = nameOf(state.id);
  const image = storedImage(state.id, { id, alt: `The image ${name}` });
  return figure(image, "Searched with", name, pointOf(state.id)?.label);
}

/** Show the reconstruction, once there is an answer. */
export function showReconstruction(source) {
  $("#reconstruction")?.closest("figure").remove();
  if (!source?.startsWith("data:image/")) return;
  const image = imageElement(source, { id: "reconstruction", alt: "The reconstruction" });
  $("#figures").append(figure(image, "Reconstruction", "decoded from the embedding that is compared"));
}

/** The page's title, in the browser's tab. */
export function titleOf(state) {
  const what = kind(state);
  if (what === "upload") return uploadOf(state.upload).name;
  return what === "id" ? nameOf(state.id) : "Examples";
}

function figure(image, heading, name, label) {
  const pill = label && el("span", { class: "label", title: label }, label);
  const path = el("span", { class: "path", title: name }, shorten(name, PATH));
  return el("figure", {}, el("div", { class: "mat" }, image), el("figcaption", {}, el("b", {}, heading), pill, path));
}

function showExamples(state) {
  const chips = [...state.like.map((id) => chip(id, "like")), ...state.unlike.map((id) => chip(id, "unlike"))];
  $("#examples").hidden = chips.length === 0;
  $("#like-chips").replaceChildren(...chips);
  $("#examples-note").textContent = note(state);
}

function note(state) {
  if (!state.upload) return "";
  if (!state.like.length) return "These take effect once there is an image to be more like.";
  return "Your own image is not used while there are examples; remove them to search with it again.";
}

function chip(id, list) {
  const [sign, words] = list === "like" ? ["+", "more like"] : ["−", "less like"];
  const name = nameOf(id);
  const title = `${words}: ${name}`;
  const remove = { type: "button", "data-remove": id, "aria-label": `Remove ${name} (${words})`, title };
  const short = pointOf(id)?.label ?? shorten(name.slice(name.lastIndexOf("/") + 1), CHIP);
  const button = el("button", remove, sign, storedImage(id), el("span", {}, short), "×");
  return el("li", { class: list, "data-id": id }, button);
}
