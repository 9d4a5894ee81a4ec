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
