// The map: a dot for each image, coloured by label, on a canvas; images instead of dots when near. Drag to move, scroll
// or pinch to zoom, click to search, and draw around some with Shift (or after "Select an area") to filter by them.

import { call } from "./api.js";
import { announce } from "./banner.js";
import { $, count, el } from "./dom.js";

const WAIT = 1500; // milliseconds until the service is asked again whether the map is drawn
const SIDE = 65535; // positions are from 0 to this
const NEAR = 150; // images in sight from which on they are drawn themselves
const TILE = 56;
const CLICK = 8; // pixels between a click and the dot it means
const MOST = 150; // images of a filter
const HUES = 12;

let chart = null;

/** The map's element; `search` is called with the id of a clicked image, `filter` with the line of a drawn area. */
export async function showMap(host, state, { search, filter, say }) {
  const mine = (chart = { host });
  say("Drawing the map…");
  let data = null;
  while (mine === chart && !data?.ids) {
    data = await call("./api/map");
    if (!data?.ids) await new Promise((resolve) => setTimeout(resolve, WAIT));
  }
  if (mine !== chart) return;
  say(`${count(data.ids.length, "image")} on the map`);
  Object.assign(mine, build(mine, data, state, { search, filter }));
}

/** Leave the map. */
export function closeMap() {
  chart?.stop?.();
  chart = null;
}

function build(mine, data, state, { search, filter }) {
  if (!$("#map-style")) document.head.append(el("link", { id: "map-style", rel: "stylesheet", href: "./static/map.css" }));
  const canvas = el("canvas", { tabindex: 0, role: "img", "aria-label": `Map of ${count(data.ids.length, "image")}` });
  const tip = el("p", { class: "tip", hidden: true });
  const lasso = el("button", { type: "button", "aria-pressed": "false" }, "Select an area");
  const whole = el("button", { type: "button" }, "Show all");
  const hint = el("span", { class: "faint hover" }, "Drag to move, scroll to zoom, click to search.");
  mine.host.replaceChildren(el("li", {}, el("p", { class: "map-tools" }, lasso, whole, hint), canvas, tip));
  const context = canvas.getContext("2d", { alpha: false });
  const { ids, x, y, label, labels } = data;
  const images = new Map();
  const wanted = state.label.length ? new Set(state.label.map((each) => labels.indexOf(each))) : null;
  const order = ids.map((_, at) => at);
  if (wanted) order.sort((a, b) => wanted.has(label[a]) - wanted.has(label[b]));
  const style = getComputedStyle(document.body);
  const [paper, faint, ink] = [style.backgroundColor, style.getPropertyValue("--edge"), style.color];
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const colours = labels.map((_, at) => colour(at, Math.min(labels.length, HUES), dark));
  const view = { scale: 1, left: 0, top: 0 };
  let [width, height, due, area, hover, touched] = [0, 0, 0, null, -1, false];

  const px = (at) => x[at] * view.scale + view.left;
  const py = (at) => y[at] * view.scale + view.top;

  function fit() {
    touched = false;
    view.scale = (Math.min(width, height) - 40) / SIDE;
    view.left = (width - SIDE * view.scale) / 2;
    view.top = (height - SIDE * view.scale) / 2;
    redraw();
  }

  function redraw() {
    due ||= requestAnimationFrame(paint);
  }

  function paint() {
    due = 0;
    const ratio = devicePixelRatio;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = paper;
    context.fillRect(0, 0, width, height);
    const seen = order.filter((at) => px(at) > -TILE && px(at) < width + TILE && py(at) > -TILE && py(at) < height + TILE);
    if (seen.length <= NEAR) seen.forEach(drawImage);
    else drawDots(seen);
    if (hover >= 0) ring(hover);
    if (area) outline();
  }

  /** By colour, so that the colour changes a few times only. */
  function drawDots(seen) {
    const size = seen.length > 4000 ? 2.5 : seen.length > 1000 ? 4 : 7;
    const groups = new Map();
    for (const at of seen) {
      const fill = wanted && !wanted.has(label[at]) ? faint : (colours[label[at]] ?? faint);
      if (!groups.has(fill)) groups.set(fill, []);
      groups.get(fill).push(at);
    }
    for (const [fill, dots] of groups) {
      context.fillStyle = fill;
      context.globalAlpha = wanted && fill === faint ? 0.25 : 0.85;
      for (const at of dots) context.fillRect(px(at) - size / 2, py(at) - size / 2, size, size);
    }
    context.globalAlpha = 1;
  }

  function drawImage(at) {
    const image = imageOf(at);
    const { naturalWidth: across = 0, naturalHeight: down } = image;
    const scale = across ? TILE / Math.max(across, down) : 0;
    const [wide, high] = across ? [across * scale, down * scale] : [TILE / 2, TILE / 2];
    context.fillStyle = colours[label[at]] ?? faint;
    context.fillRect(px(at) - wide / 2 - 2, py(at) - high / 2 - 2, wide + 4, high + 4);
    context.imageSmoothingEnabled = scale < 1;
    if (across) context.drawImage(image, px(at) - wide / 2, py(at) - high / 2, wide, high);
  }

  function imageOf(at) {
    if (!images.has(at)) {
      const image = new Image();
      image.onload = redraw;
      image.src = `./images/${ids[at]}.jpg`;
      images.set(at, image);
      if (images.size > 4 * NEAR) images.delete(images.keys().next().value);
    }
    return images.get(at);
  }

  function ring(at) {
    context.strokeStyle = ink;
    context.lineWidth = 2;
    context.strokeRect(px(at) - 6, py(at) - 6, 12, 12);
  }

  function outline() {
    context.beginPath();
    for (const [left, top] of area) context.lineTo(left, top);
    context.closePath();
    context.strokeStyle = ink;
    context.lineWidth = 1.5;
    context.setLineDash([5, 4]);
    context.stroke();
    context.setLineDash([]);
  }

  /** The image at a place: the nearest dot, or the topmost image that covers it; -1 for none. */
  function find(left, top) {
    const near = order.filter((at) => px(at) > 0 && px(at) < width && py(at) > 0 && py(at) < height).length <= NEAR;
    const reach = near ? TILE / 2 : CLICK;
    let [best, least] = [-1, Infinity];
    for (const at of order) {
      const [across, down] = [Math.abs(px(at) - left), Math.abs(py(at) - top)];
      if (across > reach || down > reach || across + down > least) continue;
      [best, least] = [at, across + down];
    }
    return best;
  }

  function zoom(factor, left = width / 2, top = height / 2) {
    const least = (Math.min(width, height) - 40) / SIDE / 2;
    const scale = Math.max(least, Math.min(least * 1000, view.scale * factor));
    view.left = left - ((left - view.left) * scale) / view.scale;
    view.top = top - ((top - view.top) * scale) / view.scale;
    view.scale = scale;
    touched = true;
    redraw();
  }

  function move(across, down) {
    view.left += across;
    view.top += down;
    touched = true;
    redraw();
  }

  /** Filter by the images within the drawn area. */
  function take() {
    const inside = order.filter((at) => contains(area, px(at), py(at)));
    area = null;
    lasso.setAttribute("aria-pressed", "false");
    redraw();
    if (!inside.length) return announce("No image is within the area");
    if (inside.length > MOST) {
      tip.textContent = `${count(inside.length, "image")} are within the area; a filter takes ${MOST}. Zoom in first.`;
      tip.hidden = false;
      return announce(tip.textContent);
    }
    filter(`id in (${inside.map((at) => ids[at]).join(", ")})`);
  }

  const pointers = new Map();
  let moved = false;
  const place = (event) => [event.offsetX, event.offsetY];
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place(event));
    moved = false;
    tip.hidden = true;
    if (pointers.size === 1 && (event.shiftKey || lasso.getAttribute("aria-pressed") === "true")) area = [place(event)];
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    const [left, top] = place(event);
    if (!before) return point(left, top);
    if (Math.abs(left - before[0]) + Math.abs(top - before[1]) < 3 && !moved) return;
    moved = true;
    if (area) {
      area.push([left, top]);
      redraw();
    } else if (pointers.size === 1) {
      move(left - before[0], top - before[1]);
    } else {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const gap = ([a, b]) => Math.hypot(a - other[0], b - other[1]);
      zoom(gap([left, top]) / Math.max(1, gap(before)), other[0], other[1]);
    }
    pointers.set(event.pointerId, [left, top]);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!pointers.delete(event.pointerId)) return;
    if (area && moved) return take();
    area = null;
    const at = moved ? -1 : find(...place(event));
    if (at >= 0) search(ids[at]);
  });
  canvas.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", () => point(-99, -99));
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 400), ...place(event));
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    const factor = { "+": 1.4, "=": 1.4, "-": 1 / 1.4 }[event.key];
    if (steps[event.key]) move(...steps[event.key]);
    else if (factor) zoom(factor);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  lasso.addEventListener("click", () =>
    lasso.setAttribute("aria-pressed", String(lasso.getAttribute("aria-pressed") !== "true")),
  );
  whole.addEventListener("click", fit);

  function point(left, top) {
    const at = find(left, top);
    if (at === hover) return;
    hover = at;
    canvas.style.cursor = at < 0 ? "grab" : "pointer";
    tip.hidden = at < 0 || label[at] < 0;
    if (!tip.hidden) tip.textContent = labels[label[at]];
    redraw();
  }

  const watch = new ResizeObserver(() => {
    [width, height] = [canvas.clientWidth, canvas.clientHeight];
    Object.assign(canvas, { width: width * devicePixelRatio, height: height * devicePixelRatio });
    if (touched) paint();
    else fit();
  });
  watch.observe(canvas);
  return { stop: () => watch.disconnect() };
}

/** Of a label: HUES hues, each paler every time it comes again. */
const colour = (at, hues, dark) =>
  `hsl(${((at % hues) * 360) / hues} ${75 - 15 * (Math.floor(at / hues) % 4)}% ${dark ? 62 : 42}%)`;

/** Whether a place is within a polygon: a line from it crosses its edges an odd number of times. */
function contains(polygon, left, top) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [[a, b], [c, d]] = [polygon[i], polygon[j]];
    if (b > top !== d > top && left < ((c - a) * (top - b)) / (d - b) + a) inside = !inside;
  }
  return inside;
}
