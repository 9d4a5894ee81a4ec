// Builds elements. Nothing is parsed as HTML, because names and labels come from users' files.

export const $ = (selector) => document.querySelector(selector);

/** Make an element. Attributes that are null or false are left out; those that begin with `on` are listeners. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

const PATHS = {
  back: "M10 3 5 8l5 5",
  on: "m6 3 5 5-5 5",
  close: "m4 4 8 8m0-8-8 8",
  like: "M8 3v10M3 8h10",
  unlike: "M3 8h10",
  similar: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9m3.2 7.7L14 14",
  select: "m3 8.5 3.5 3.5L13 4.5",
};

/** A drawn sign, for a button that has words for screen readers. */
export function icon(name) {
  const [svg, path] = ["svg", "path"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
  for (const [key, value] of [["viewBox", "0 0 16 16"], ["aria-hidden", "true"]]) svg.setAttribute(key, value);
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** `1 image`, `60,000 images`. */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** At most `fits` characters; the middle is left out, so that both ends can be read. */
export function shorten(text, fits) {
  const all = Array.from(text);
  if (all.length <= fits) return text;
  const tail = Math.floor(fits / 2);
  return `${all.slice(0, fits - 1 - tail).join("")}…${all.slice(all.length - tail).join("")}`;
}

const DAY = 86_400;
const UNITS = { year: 365 * DAY, month: 30 * DAY, week: 7 * DAY, day: DAY, hour: 3600, minute: 60 }; // seconds
const RELATIVE = new Intl.RelativeTimeFormat("en");

/** `3 hours ago`. */
export function ago(time) {
  const seconds = (new Date(time) - Date.now()) / 1000;
  for (const [unit, size] of Object.entries(UNITS)) {
    if (Math.abs(seconds) >= size) return RELATIVE.format(Math.trunc(seconds / size), unit);
  }
  return "just now";
}

/** The service's message as a sentence. */
export function sentence(text) {
  const whole = text.trim();
  return whole.charAt(0).toUpperCase() + whole.slice(1) + (/[.!?…]$/.test(whole) ? "" : ".");
}
