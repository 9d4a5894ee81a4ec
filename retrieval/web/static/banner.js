// The banner for messages, which are announced to screen readers too.

import { $, el } from "./dom.js";

const box = $("#message");
const live = $("#live");
let again = null;
let timer = 0;
let due = false;

/**
 * Show a sentence and what to do.
 *
 * kind: `info`, `wait` or `error`
 * code: the HTTP status, for tests and support
 * detail: lines that keep their spaces, under the sentence
 * actions: buttons, as [label, function]
 * retry: called once after `seconds`, when the page is visible
 */
export function showMessage(kind, text, { hint = "", detail = "", code = "", actions = [], retry = null, seconds = 5 } = {}) {
  const news = box.hidden || box.dataset.text !== text;
  const held = box.contains(document.activeElement);
  stop();
  Object.assign(box.dataset, { kind, code, text, retry: retry ? "yes" : "no" });
  const buttons = actions.map(([words, act]) => el("button", { type: "button", onclick: act }, words));
  const lines = detail ? [el("pre", {}, detail)] : [];
  box.replaceChildren(el("p", {}, el("strong", {}, text), hint && ` ${hint}`), ...lines, ...buttons);
  box.hidden = false;
  if (news) announce(`${text} ${hint}`);
  if (held) (buttons[0] ?? $("#title")).focus();
  if (!retry) return;
  again = retry;
  timer = setTimeout(() => {
    due = true;
    tryAgain();
  }, seconds * 1000);
}

/** Hide the banner. */
export function hideMessage() {
  const held = box.contains(document.activeElement);
  stop();
  box.hidden = true;
  box.replaceChildren();
  if (held) $("#title").focus({ preventScroll: true });
}

/** Whether the banner shown is retried automatically. */
export const isRetrying = () => !box.hidden && box.dataset.retry === "yes";

/** Announce a text to screen readers, even if it is the same as the last one. */
export function announce(text) {
  const words = text.trim();
  live.textContent = live.textContent === words ? `${words}\u00a0` : words;
}

function stop() {
  clearTimeout(timer);
  again = null;
  due = false;
}

function tryAgain() {
  if (!again || document.hidden) return;
  const act = again;
  stop();
  act();
}

document.addEventListener("visibilitychange", () => due && tryAgain());
addEventListener("online", tryAgain);
