// The header: alias, number of images and age; for the operator, behind a line: collection, model, engine, version.

import { $, ago, count, el } from "./dom.js";

const MINUTE = 60_000;

export function showHeader(status) {
  const { alias, collection, points, model, created, engine, version } = status;
  $("#status-line").replaceChildren(
    ...[
      alias && el("b", {}, alias),
      collection && el("span", {}, count(points, "image")),
      created && el("span", {}, "made ", el("time", { datetime: created, title: exact(created) }, ago(created))),
    ].filter(Boolean),
  );
  const facts = { Collection: collection, Model: model, Engine: engine, Version: version };
  const known = Object.entries(facts).filter(([, fact]) => fact);
  $("#operator").hidden = !collection;
  $("#operator-facts").replaceChildren(
    ...known.flatMap(([name, fact]) => [el("dt", {}, name), el("dd", {}, el("code", {}, fact))]),
  );
  const dashboard = $("#dashboard");
  dashboard.hidden = !/^https?:\/\//.test(status.dashboard ?? "");
  if (!dashboard.hidden) dashboard.href = status.dashboard;
}

const exact = (time) => new Date(time).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "long" });

setInterval(() => {
  const time = $("#status-line time");
  if (time) time.textContent = ago(time.dateTime);
}, MINUTE);
