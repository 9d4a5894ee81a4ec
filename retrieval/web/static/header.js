// The header: alias, number of images, collection, model and age.

import { $, ago, count, el } from "./dom.js";

const MINUTE = 60_000;

export function showHeader(status) {
  const { alias, collection, points, model, created } = status;
  $("#status-line").replaceChildren(
    ...[
      alias && el("b", {}, alias),
      collection && el("span", {}, count(points, "image")),
      collection && el("span", {}, "collection ", el("code", {}, collection)),
      model && el("span", {}, "model ", el("code", { title: model }, model.slice(0, 8))),
      created && el("span", {}, "created ", el("time", { datetime: created, title: exact(created) }, ago(created))),
    ].filter(Boolean),
  );
  $("h1 a").title = `version ${status.version}`;
  const dashboard = $("#dashboard");
  dashboard.hidden = !/^https?:\/\//.test(status.dashboard ?? "");
  if (!dashboard.hidden) dashboard.href = status.dashboard;
}

const exact = (time) => new Date(time).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "long" });

setInterval(() => {
  const time = $("#status-line time");
  if (time) time.textContent = ago(time.dateTime);
}, MINUTE);
