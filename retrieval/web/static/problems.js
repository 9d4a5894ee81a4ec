// Each problem as a sentence, a hint, and whether it is retried automatically.

import { NETWORK, NO_ANSWER } from "./api.js";
import { sentence } from "./dom.js";

const EVERY = 5;
const LONGEST = 60;
const RETRY = `Trying again every ${EVERY} s.`;
const THEN = "This page then continues by itself.";

const WORDS = {
  401: ["This service needs a key.", "Ask the operator for one.", "key"],
  404: ["This image is no longer in the collection.", "Choose another.", "start"],
  408: ["The upload took too long.", "Try again, or choose a smaller file.", "again"],
  [NO_ANSWER]: ["The answer took too long.", "Try again, or ask for fewer results.", "again"],
};

/**
 * A problem in words.
 *
 * action: `again`, `start`, `clear`, `key` or none
 * seconds: until it is retried automatically, or none
 */
export function explain({ status, message, seconds }, { bytes, filtered }) {
  const own = sentence(message || "something went wrong in the service");
  const [text, hint, action] = WORDS[status] ?? [];
  if (text) return { text, hint, action };
  switch (status) {
    case NETWORK:
      return navigator.onLine
        ? { text: "The service does not answer.", hint: RETRY, seconds: EVERY }
        : { text: "You are offline.", hint: "This page continues when the connection is back.", seconds: EVERY };
    case 400:
      return filtered
        ? { text: own, hint: "Change the filters, or clear them.", action: "clear" }
        : { text: own, hint: "Choose another image.", action: "start" };
    case 413:
      return tooLarge(bytes);
    case 422:
      return { text: sentence(`This file cannot be used: ${message || "not an image"}`), hint: "Choose another." };
    case 429: {
      const wait = Math.min(seconds || EVERY, LONGEST);
      return { text: "Too many requests at once.", hint: `Trying again in ${wait} s.`, seconds: wait };
    }
    case 502:
    case 503:
      return { text: own, hint: RETRY, seconds: EVERY };
    default:
      return { text: own, hint: "Try again later.", action: "again" };
  }
}

export function tooLarge(most, size = 0) {
  const text = size ? `This image is too large: ${megabytes(size)}.` : "This image is too large.";
  return { text, hint: `The limit is ${megabytes(most)}; scale it down or choose another.` };
}

const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(bytes % 2 ** 20 ? 1 : 0)} MB`;

/** The problem that the status reports, as the service words it; null if there is none. */
export function explainState({ state, message }) {
  if (state === "ready") return null;
  return { text: sentence(message ?? "not ready yet"), hint: state === "engine-down" ? RETRY : THEN };
}
