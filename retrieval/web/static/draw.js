// Drawing a digit, white on black. Strokes are kept as points, so that they can be moved and scaled.

import { $ } from "./dom.js";

const LARGEST = 64; // models of larger images are not trained on drawings
const SIDE = 224;
const PEN = 0.085; // width of the pen and size of the figure as shares of the side, about as in MNIST
const FIGURE = 0.63;
const LARGER = 4;

const canvas = $("#canvas");
const context = canvas.getContext("2d");
let strokes = [];

let taken = null;

/** Offer drawing if the model takes small grey images. take: called with a PNG, or with null if nothing was drawn. */
export function fitCanvas({ channels, image_size: size }, take) {
  const fits = channels === 1 && Array.isArray(size) && Math.max(...size) <= LARGEST;
  taken = take;
  $("#draw").hidden = !fits;
  if (!fits) return;
  const scale = Math.ceil(SIDE / Math.max(...size));
  const [height, width] = size.map((edge) => edge * scale);
  if (canvas.width === width && canvas.height === height) return;
  Object.assign(canvas, { width, height });
  clear();
}

$("#draw-clear").addEventListener("click", clear);
$("#draw-search").addEventListener("click", async () => taken(strokes.length ? await file() : null));
canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || !event.isPrimary) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  strokes.push([place(event)]);
  paint(context, strokes);
});
canvas.addEventListener("pointermove", (event) => {
  if (!canvas.hasPointerCapture(event.pointerId)) return;
  const all = event.getCoalescedEvents?.() ?? [];
  strokes.at(-1)?.push(...(all.length ? all : [event]).map(place));
  paint(context, strokes);
});

function clear() {
  strokes = [];
  paint(context, strokes);
}

/** Position on the canvas, in its own pixels. */
function place(event) {
  const box = canvas.getBoundingClientRect();
  const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  return [x * canvas.width, y * canvas.height];
}

function paint(target, lines) {
  const { width, height } = target.canvas;
  target.fillStyle = "#000";
  target.fillRect(0, 0, width, height);
  target.strokeStyle = "#fff";
  target.lineWidth = PEN * Math.min(width, height);
  target.lineCap = target.lineJoin = "round";
  for (const line of lines) {
    target.beginPath();
    target.moveTo(...line[0]);
    for (const point of line) target.lineTo(...point); // a single point becomes a dot
    target.stroke();
  }
}

/** The strokes, centred and scaled like the digits of MNIST. */
function centred() {
  const [xs, ys] = [0, 1].map((axis) => strokes.flat().map((point) => point[axis]));
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const wanted = FIGURE * Math.min(canvas.width, canvas.height);
  const scale = Math.min(LARGER, wanted / Math.max(right - left, bottom - top, 1));
  return strokes.map((line) =>
    line.map(([x, y]) => [
      canvas.width / 2 + (x - (left + right) / 2) * scale,
      canvas.height / 2 + (y - (top + bottom) / 2) * scale,
    ]),
  );
}

function file() {
  const sheet = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  paint(sheet.getContext("2d"), centred());
  return new Promise((resolve) => {
    sheet.toBlob((blob) => resolve(new File([blob], "drawing.png", { type: "image/png" })), "image/png");
  });
}
