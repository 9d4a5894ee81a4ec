// Image elements, and the points of stored images.

import { el } from "./dom.js";

const EDGE = 256; // longest edge of a thumbnail, in pixels
const TINY = 64; // up to this size, images are shown with sharp pixels
const TILE = 168;

const points = new Map();

/** Remember points by their id. */
export function remember(found) {
  for (const point of found) points.set(point.id, point);
}

export const pointOf = (id) => points.get(id);

/** `digits/7/00012.png`; the beginning of the id if the image is not known. */
export function nameOf(id) {
  const point = points.get(id);
  return point ? `${point.source}/${point.path}` : `image ${id.slice(0, 8)}`;
}

/** Whether the image is small enough to be shown with sharp pixels. */
export const isTiny = (id) => longer(id) <= TINY;

/** Whether the image has more pixels than its thumbnail. */
export const isLarge = (id) => longer(id) > EDGE;

const longer = (id) => Math.max(points.get(id)?.width ?? EDGE, points.get(id)?.height ?? EDGE);

/** The address of a stored image; with the beginning of its content's hash, so that the browser can keep it. */
export function imageUrl(id, kind, size = null) {
  const version = points.get(id)?.sha256?.slice(0, 16);
  const query = new URLSearchParams({ ...(size && { size }), ...(version && { v: version }) });
  return `./images/${encodeURIComponent(id)}.${kind}${query.size ? `?${query}` : ""}`;
}

/** A stored image's thumbnail. */
export function storedImage(id, options = {}) {
  const { width, height } = points.get(id) ?? {};
  return imageElement(imageUrl(id, "jpg"), { width, height, ...options });
}

/** An image element; text takes its place if the image cannot be loaded. width, height: of the original. */
export function imageElement(src, { width, height, alt = "", lazy = false, id = null } = {}) {
  const image = el("img", { id, alt, loading: lazy ? "lazy" : "eager", ...size(width, height) });
  const crisp = (w, h) => image.classList.toggle("tiny", Math.max(w, h) <= TINY);
  if (width && height) crisp(width, height);
  else if (!src.startsWith("./")) image.onload = () => crisp(image.naturalWidth, image.naturalHeight);
  image.onerror = () => image.replaceWith(missing(alt, id));
  image.src = src;
  return image;
}

function missing(alt, id) {
  const attributes = alt ? { role: "img", "aria-label": `${alt}, no image` } : {};
  return el("span", { id, class: "nothing", ...attributes }, "no image");
}

/** Size of the thumbnail: large images are scaled down, small ones enlarged by a whole factor. */
function size(width, height) {
  if (!width || !height) return { width: TILE, height: TILE };
  const longer = Math.max(width, height);
  const scale = longer > EDGE ? EDGE / longer : Math.floor(EDGE / longer);
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}
