// The keyboard: arrows in the grids, where Tab stops once, and `?` for help.

import { $ } from "./dom.js";

const GRIDS = "#results, #sample, .row";
const links = (grid) => [...grid.querySelectorAll("li[data-id] > a")];

/** Let Tab stop at one tile of a grid, the first, or the one that has the focus. */
export function rove(grid, chosen = links(grid)[0]) {
  for (const item of grid.children) {
    const on = item.contains(chosen ?? null);
    for (const each of item.querySelectorAll("a, button")) each.tabIndex = on ? 0 : -1;
  }
}

/** The image that an arrow leads to: the one before or after, or the nearest one in the row above or below. */
function neighbour(all, at, key) {
  if (key === "ArrowLeft" || key === "ArrowRight") return all[at + (key === "ArrowLeft" ? -1 : 1)];
  if (key === "Home") return all[0];
  if (key === "End") return all.at(-1);
  if (key !== "ArrowUp" && key !== "ArrowDown") return null;
  const columns = all.findIndex((each) => each.offsetTop !== all[0].offsetTop);
  return columns < 0 ? null : all[at + (key === "ArrowUp" ? -columns : columns)];
}

document.addEventListener("focusin", ({ target }) => {
  const grid = target.closest?.(GRIDS);
  if (grid) rove(grid, target.closest("li")?.querySelector("a"));
});

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (key === "?" && !target.closest("input:not([type=checkbox]), textarea, dialog")) $("#help").showModal();
  const grid = target.closest?.(GRIDS);
  if (!grid || event.shiftKey) return;
  const item = target.closest("li");
  if (key === "x") item.querySelector("[data-select]")?.click();
  const all = links(grid);
  const next = neighbour(all, all.indexOf(item.querySelector("a")), key);
  if (!next) return;
  event.preventDefault();
  next.focus();
});

$("#help-open").addEventListener("click", () => $("#help").showModal());
$("#help").addEventListener("click", ({ target }) => {
  if (target === $("#help") || target.closest("button")) $("#help").close();
});
