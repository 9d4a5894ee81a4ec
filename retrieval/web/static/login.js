// Asks for the key once and exchanges it for a cookie, which the browser sends with image requests too. The page
// does not keep the key.

import { Problem, reach } from "./api.js";
import { el } from "./dom.js";

const kept = { type: "text", autocomplete: "username", value: "retrieval", hidden: true }; // for password managers
const described = { required: true, "aria-describedby": "key-error" };
const input = el("input", { id: "key", type: "password", autocomplete: "current-password", ...described });
const wrong = el("p", { id: "key-error", role: "alert" });
const cancel = el("button", { type: "button", onclick: () => dialog.close() }, "Not now");
const form = el(
  "form",
  { method: "dialog" },
  el("h2", { id: "key-title" }, "This service needs a key"),
  el("p", {}, "Ask the operator for one. This browser then stays signed in for a week."),
  el("input", kept),
  el("label", { for: "key" }, "Key"),
  input,
  wrong,
  el("div", { class: "pair" }, cancel, el("button", { type: "submit", class: "strong" }, "Sign in")),
);
const dialog = el("dialog", { id: "key-dialog", "aria-labelledby": "key-title" }, form);
document.body.append(dialog);
const HEADER = /^[\x20-\x7e]+$/; // characters allowed in a header

/** Resolves when the service has accepted a key; rejects with Problem 401 when the user cancels. */
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

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  wrong.textContent = "";
  const refused = await tryKey(input.value.trim());
  if (!refused) return;
  wrong.textContent = refused;
  input.setAttribute("aria-invalid", "true");
  input.select();
});

/** Null if the key is accepted, else the reason. */
async function tryKey(key) {
  const mistaken = "This key is wrong. Try again.";
  if (!HEADER.test(key)) return mistaken;
  try {
    await reach("./api/session", { method: "POST", headers: { "X-API-Key": key } });
    dialog.close("in");
    return null;
  } catch ({ status }) {
    if (status === 401) return mistaken;
    return status === 429 ? "Too many attempts. Wait a few seconds." : "The service does not answer. Try again.";
  }
}
