// Takes images: dropped anywhere, pasted or chosen. Dropping one of this page's own images searches with it.

import { $ } from "./dom.js";

const OURS = /^\/.*images\/([0-9a-f-]{36})\.(?:jpg|png)$/i;
const WRITING = "dialog, select, input:not([type=checkbox], [type=file])"; // keys and text there are not for the page

/**
 * Set what is called for an image.
 *
 * take: called with the files
 * follow: called with the id of a stored image
 * refuse: called with a message and a hint
 */
export function whenGiven({ take, follow, refuse }) {
  const pick = $("#pick");
  pick.addEventListener("change", () => {
    if (pick.files.length) take([...pick.files]);
    pick.value = ""; // the same file can be chosen again
  });

  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (event.target.closest?.(files.length ? "dialog" : WRITING)) return;
    event.preventDefault();
    if (files.length) take(files);
    else refuse("There is no image in the clipboard.", "Copy an image, not its name or link.");
  });

  const carries = ({ dataTransfer }) => ["Files", "text/uri-list"].some((type) => dataTransfer?.types.includes(type));
  const over = (on) => document.body.classList.toggle("dragging", on);
  addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    over(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && over(false));
  addEventListener("dragend", () => over(false));
  addEventListener("drop", (event) => {
    over(false);
    if (!carries(event)) return;
    event.preventDefault();
    const { files, items } = event.dataTransfer;
    const id = ownId(event.dataTransfer.getData("text/uri-list"));
    if (id) follow(id);
    else if (items[0]?.webkitGetAsEntry?.()?.isDirectory) refuse("That is a folder.", "Drop an image from it.");
    else if (files.length) take([...files]);
    else refuse("That is a link, not an image.", "Save the image, or copy it and paste it here.");
  });

  addEventListener("keydown", (event) => {
    const writing = event.target.closest?.(WRITING);
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || writing) return;
    event.preventDefault();
    pick.focus();
  });
}

/** The id in the address of one of this page's images or searches; null for any other address. */
function ownId(addresses) {
  const first = addresses.split(/\r?\n/).find((line) => line && !line.startsWith("#"));
  if (!first || !URL.canParse(first)) return null;
  const { origin, pathname, searchParams } = new URL(first);
  if (origin !== location.origin) return null;
  return searchParams.get("id") ?? OURS.exec(pathname)?.[1] ?? null;
}
