// The slim strip above the results: the query, its reconstruction, and the examples as chips.

import { $, el, shorten } from "./dom.js";
import { imageElement, nameOf, pointOf, storedImage } from "./images.js";
import { kind, uploadOf } from "./state.js";

const PATH = 44;
const CHIP = 18;

/** Show the query, before there is an answer. */
export function showQuery(state) {
  const own = queryFigure(state);
  $("#figures").replaceChildren(...(own ? [own] : []));
  nameQuery(state);
}

/** Update names that were not known when the query was shown. */
export function nameQuery(state, here = null) {
  const what = kind(state);
  const name = what === "upload" ? uploadOf(state.upload).name : what === "id" ? nameOf(state.id) : "";
  const label = what === "id" && pointOf(state.id)?.label;
  if (what === "id") $("#query-image")?.closest("figure").replaceWith(queryFigure(state));
  $("#asked").hidden = !name;
  $("#asked").replaceChildren(
    `${what === "upload" ? "Your image" : "Searched with"} `,
    el("span", { class: "path", title: name }, shorten(name, PATH)),
    label ? el("span", { class: "label", title: label }, label) : "",
    here === false ? " · no identical file is here" : "",
  );
  showExamples(state);
}

function queryFigure(state) {
  const what = kind(state);
  const id = "query-image";
  if (what === "upload") return figure(imageElement(uploadOf(state.upload).url, { id, alt: "Your image" }));
  return what === "id" ? figure(storedImage(state.id, { id, alt: `The image ${nameOf(state.id)}` })) : null;
}

/** Show the reconstruction, once there is an answer. */
export function showReconstruction(source) {
  $("#reconstruction")?.closest("figure").remove();
  if (!source?.startsWith("data:image/")) return;
  const image = imageElement(source, { id: "reconstruction", alt: "The reconstruction" });
  $("#figures").append(figure(image, "Reconstruction: decoded from the embedding that is compared"));
}

/** The page's title, in the browser's tab. */
export function titleOf(state) {
  const what = kind(state);
  if (what === "upload") return uploadOf(state.upload).name;
  return what === "id" ? nameOf(state.id) : "Examples";
}

const figure = (image, title = null) => el("figure", { class: "mat", title }, image);

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
