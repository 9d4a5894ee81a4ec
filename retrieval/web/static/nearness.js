// Says in words how near a hit is, beside a bar. The number and the percentile are for those who ask.

import { $, ago, el, sentence } from "./dom.js";

const SAME = 0.0001; // distances below are rounding
const SAME_IMAGE = "the same image";
const TYPICAL = 50; // percentile: half of the images have no neighbour as near
const USUAL = 90; // most images have a nearer neighbour
const FAR = 99.5; // as far as chance would put it
const UNMEASURED = "How often these are right is not measured: that takes images with labels.";

/** `very close`; null where the collection's distances are not known. */
export function nearnessWord({ distance, percentile }) {
  if (distance < SAME) return SAME_IMAGE;
  if (typeof percentile !== "number") return null;
  if (percentile < TYPICAL) return "very close";
  if (percentile <= USUAL) return "close";
  return percentile <= FAR ? "less close" : "far";
}

/** `distance 0.1983, nearer than 77% of neighbours here`. */
export function nearnessFigures({ distance, percentile }) {
  const far = `distance ${distance.toFixed(4)}`;
  return typeof percentile === "number" ? `${far}, nearer than ${Math.round(100 - percentile)}% of neighbours here` : far;
}

/** The word, or the distance where there is none; the figures are its title. */
export const nearness = (hit) =>
  el("b", { title: nearnessFigures(hit) }, nearnessWord(hit) ?? hit.distance.toFixed(4));

/** A bar, the fuller the nearer; null where the collection's distances are not known. */
export function gauge(hit) {
  const word = nearnessWord(hit);
  if (!word) return null;
  const fill = el("i");
  fill.style.width = `${word === SAME_IMAGE ? 100 : Math.max(2, 100 - hit.percentile)}%`;
  return el("span", { class: "gauge", title: nearnessFigures(hit) }, fill);
}

/** Show how good retrieval was when it was last measured; a warning says it by itself. */
export function showQuality({ quality, measured, weak, state }) {
  $("#quality").hidden = !(quality || state === "ready") || Boolean(weak);
  $("#quality").textContent = quality ? sentence(`${quality}, measured ${ago(measured)}`) : UNMEASURED;
}
