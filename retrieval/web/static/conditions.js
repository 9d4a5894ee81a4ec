// The filter's conditions: in the query's state, in the address, and in the service's language.

const LISTS = ["label", "source"];
const DAY = 86_400_000; // milliseconds
const VALID = {
  path: (text) => text.length <= 1000,
  from: isDate,
  to: isDate,
  size: (text) => /^[1-9]\d{0,4}$/.test(text),
  where: (text) => text.length <= 9000,
};

/** No condition: images of any label, source, path, date and size. */
export const NONE = { label: [], source: [], path: "", from: "", to: "", size: "", where: "" };

/** The conditions in an address; those that are malformed are left out. */
export function readConditions(parameters) {
  const lists = LISTS.map((name) => [name, [...new Set(parameters.getAll(name))]]);
  const lines = Object.entries(VALID).map(([name, valid]) => {
    const text = (parameters.get(name) ?? "").trim();
    return [name, valid(text) ? text : ""];
  });
  return Object.fromEntries([...lists, ...lines]);
}

export function writeConditions(state, parameters) {
  for (const name of LISTS) for (const value of state[name]) parameters.append(name, value);
  for (const name of Object.keys(VALID)) if (state[name]) parameters.set(name, state[name]);
}

/** How many conditions there are. */
export const countConditions = (state) =>
  LISTS.reduce((sum, name) => sum + state[name].length, 0) + Object.keys(VALID).filter((name) => state[name]).length;

/** The filter in the service's language: `label in ("7", "9") and path~"2024/*"`. */
export function filterText(state) {
  const { where, path, from, to, size } = state;
  return [
    where && `(${where})`, // first, so that an error's place is the place in `where`, and one for the bracket
    ...LISTS.map((name) => state[name].length > 0 && `${name} in (${state[name].map(quoted).join(", ")})`),
    path && `path~${quoted(`${path}*`)}`,
    from && `mtime_ns>=${nanoseconds(from)}`,
    to && `mtime_ns<${nanoseconds(to, DAY)}`,
    size && `(width>=${size} or height>=${size})`,
  ]
    .filter(Boolean)
    .join(" and ");
}

/** The place of an error in the line `where`, from the service's two lines of context; null if it is elsewhere. */
export function placeIn(where, context) {
  if (!where || context.length < 2) return null;
  const at = context[1].indexOf("^") - context[0].indexOf("(") - 1;
  return Math.max(0, Math.min(at, where.length));
}

/** Local midnight of a date, or `later` after it, in nanoseconds. */
const nanoseconds = (date, later = 0) => `${new Date(`${date}T00:00`).getTime() + later}000000`;
const ESCAPES = { "\n": "\\n", "\r": "\\r" }; // a form would send another line break
const quoted = (text) => `"${text.replace(/["\\\n\r]/g, (each) => ESCAPES[each] ?? `\\${each}`)}"`;

function isDate(text) {
  return /^\d{4}-\d\d-\d\d$/.test(text) && !Number.isNaN(new Date(text).getTime());
}
