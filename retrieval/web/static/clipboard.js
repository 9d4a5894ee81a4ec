// Text to the clipboard, or to a file.

import { el } from "./dom.js";

/** Copy a text; returns whether that worked. within: the open dialog, if there is one */
export async function copyText(text, within = document.body) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Over http to another machine there is no such interface.
    const area = el("textarea", { class: "unseen", readonly: true });
    area.value = text;
    within.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** Save a text as a file. */
export function saveText(text, name) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
