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
  const { upload, id } = state;
  const name = upload ? uploadOf(upload).name : id ? nameOf(id) : "";
  const label = id && pointOf(id)?.label;
  if (id) $("#query-image")?.closest("figure").replaceWith(queryFigure(state));
  $("#asked").hidden = !name;
  $("#asked").replaceChildren(
    upload ? "Your image " : "Searched with ",
    el("span", { class: "path", title: name }, shorten(name, PATH)),
    label ? el("span", { class: "label", title: label }, label) : "",
    kind(state) === "like" ? " and these:" : here === false ? " · no identical file is here" : "",
  );
  showExamples(state);
}

function queryFigure({ upload, id: stored }) {
  const id = "query-image";
  if (upload) return figure(imageElement(uploadOf(upload).url, { id, alt: "Your image" }));
  return stored ? figure(storedImage(stored, { id, alt: `The image ${nameOf(stored)}` })) : null;
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
  if (what === "batch") return `${state.batch.length} images`;
  return what === "id" ? nameOf(state.id) : "Examples";
}

const figure = (image, title = null) => el("figure", { class: "mat", title }, image);

function showExamples(state) {
  const chips = [...state.like.map((id) => chip(id, "like")), ...state.unlike.map((id) => chip(id, "unlike"))];
  $("#examples").hidden = chips.length === 0;
  $("#like-chips").replaceChildren(...chips);
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
