// Each problem as one plain sentence, what to do, and whether it is tried again by itself.

import { NETWORK, NO_ANSWER } from "./api.js";
import { sentence } from "./dom.js";

const EVERY = 5;
const LONGEST = 60;
const RETRY = `Trying again every ${EVERY} s.`;
const THEN = "This page goes on by itself then.";

const WORDS = {
  401: ["A key is needed here.", "Whoever runs this service can give you one.", "key"],
  404: ["This picture is not in the collection any more.", "Start with another.", "start"],
  408: ["The upload took too long.", "Try again, or choose a smaller file.", "again"],
  [NO_ANSWER]: ["No answer came in time.", "Try again, or ask for less.", "again"],
};

/** action: `again`, `start`, `clear`, `key` or none · seconds: until it is tried again by itself, or none. */
export function explain({ status, message, seconds }, { bytes, filtered }) {
  const said = sentence(message || "something went wrong in the service");
  const [text, hint, action] = WORDS[status] ?? [];
  if (text) return { text, hint, action };
  switch (status) {
    case NETWORK:
      return navigator.onLine
        ? { text: "The service does not answer.", hint: RETRY, seconds: EVERY }
        : { text: "You are offline.", hint: "This goes on when the connection is back.", seconds: EVERY };
    case 400:
      return filtered
        ? { text: said, hint: "Change the filters, or clear them.", action: "clear" }
        : { text: said, hint: "Start with another picture.", action: "start" };
    case 413:
      return tooLarge(bytes);
    case 422:
      return { text: sentence(`This file cannot be used: ${message || "not an image"}`), hint: "Choose another." };
    case 429: {
      const wait = Math.min(seconds || EVERY, LONGEST);
      return { text: "Too many requests came at once.", hint: `Trying again in ${wait} s.`, seconds: wait };
    }
    case 502:
    case 503:
      return { text: said, hint: RETRY, seconds: EVERY };
    default:
      return { text: said, hint: "Try again later.", action: "again" };
  }
}

export function tooLarge(most, size = 0) {
  const text = size ? `This picture is too large: ${megabytes(size)}.` : "This picture is too large.";
  return { text, hint: `At most ${megabytes(most)} can be sent; scale it down or choose another.` };
}

const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(bytes % 2 ** 20 ? 1 : 0)} MB`;

/** What is wrong before anything is asked, in the service's own words; null when nothing is. */
export function explainState({ state, message }) {
  if (state === "ready") return null;
  return { text: sentence(message ?? "not ready yet"), hint: state === "engine-down" ? RETRY : THEN };
}
