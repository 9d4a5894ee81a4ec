// The key is asked for once, and changed for a cookie, which pictures can bear; the page does not keep it.

import { Problem, openSession } from "./api.js";
import { $ } from "./dom.js";

const dialog = $("#key-dialog");
const input = $("#key");
const wrong = $("#key-error");
const HEADER = /^[\x20-\x7e]+$/; // what a header can bear

/** Resolves when the service has taken a key; raises Problem 401 when none is given. */
export function askKey() {
  input.value = wrong.textContent = dialog.returnValue = "";
  input.removeAttribute("aria-invalid");
  dialog.showModal();
  return new Promise((resolve, reject) => {
    dialog.addEventListener("close", () => (dialog.returnValue === "in" ? resolve() : reject(new Problem(401))), {
      once: true,
    });
  });
}

export const isAsking = () => dialog.open;

$("#key-cancel").addEventListener("click", () => dialog.close());

$("#key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  wrong.textContent = "";
  const refused = await tryKey(input.value.trim());
  if (!refused) return;
  wrong.textContent = refused;
  input.setAttribute("aria-invalid", "true");
  input.select();
});

/** Null when it is taken, else why not. */
async function tryKey(key) {
  const mistaken = "That is not the key. Try again.";
  if (!HEADER.test(key)) return mistaken;
  try {
    await openSession(key);
    dialog.close("in");
    return null;
  } catch ({ status }) {
    if (status === 401) return mistaken;
    return status === 429 ? "Too many tries at once. Wait a few seconds." : "The service does not answer. Try again.";
  }
}
