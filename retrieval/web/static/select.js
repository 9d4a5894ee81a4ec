// Several images selected: copy or download their paths, or search with all of them.

import { announce } from "./banner.js";
import { copyText, saveText } from "./clipboard.js";
import { $, count } from "./dom.js";
import { nameOf } from "./images.js";

const chosen = new Set();
const bar = $("#selection");
const paths = () => [...chosen].map(nameOf).join("\n") + "\n";

/** Select an image, or no longer. */
export function toggle(id) {
  if (!chosen.delete(id)) chosen.add(id);
  showSelection();
  announce(`${chosen.has(id) ? "Selected" : "Not selected"}: ${nameOf(id)}`);
}

/** Mark the selected images among those shown. */
export function showSelection() {
  for (const item of document.querySelectorAll("[data-id]")) {
    const on = chosen.has(item.dataset.id);
    item.classList.toggle("chosen", on);
    item.querySelector("[data-select]")?.setAttribute("aria-pressed", String(on));
  }
  bar.hidden = !chosen.size;
  $("#selection-count").textContent = `${count(chosen.size, "image")} selected`;
}

/** Set the function that is called with the ids to search with. */
export function whenSelected(search) {
  $("#selection-search").addEventListener("click", () => search([...chosen]));
  $("#selection-copy").addEventListener("click", async () =>
    announce((await copyText(paths())) ? say(`${count(chosen.size, "path")} copied`) : say("Not copied")),
  );
  $("#selection-save").addEventListener("click", () => saveText(paths(), "paths.txt"));
  $("#selection-clear").addEventListener("click", () => {
    chosen.clear();
    showSelection();
    $("#title").focus({ preventScroll: true });
  });
}

const say = (words) => ($("#selection-count").textContent = words);
