// Shows the API's description as a page: each operation with its parameters, body and answers.

import { $, el } from "./dom.js";

const METHODS = ["get", "post", "put", "patch", "delete", "head"];
let schemas = {};

async function show() {
  const line = $("#status-line");
  try {
    const response = await fetch("./openapi.json");
    if (!response.ok) throw new Error(`openapi.json: ${response.status}`);
    const { info, paths, components } = await response.json();
    schemas = components?.schemas ?? {};
    $("#operations").replaceChildren(...Object.entries(paths).flatMap(([path, item]) => sections(path, item)));
    line.textContent = [info.title, info.version].filter(Boolean).join(" ");
  } catch {
    line.textContent = "The description cannot be loaded. Reload the page in a moment.";
  }
}

function sections(path, item) {
  return METHODS.filter((method) => item[method]).map((method) => {
    const operation = item[method];
    const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])];
    const title = el("h2", {}, el("span", { class: "method" }, method.toUpperCase()), " ", el("code", {}, path));
    return el(
      "section",
      {},
      title,
      operation.summary && el("p", {}, el("strong", {}, operation.summary)),
      ...paragraphs(operation.description),
      table("Parameters", ["name", "in", "type", "description"], parameters.map(parameterRow)),
      ...bodies(operation.requestBody),
      table("Answers", ["status", "description", "fields"], Object.entries(operation.responses ?? {}).map(answerRow)),
    );
  });
}

const paragraphs = (text = "") => text.split(/\n\s*\n/).filter(Boolean).map((each) => el("p", {}, ...words(each)));

/** Text between backticks becomes code. */
const words = (text) => text.split("`").map((part, number) => (number % 2 ? el("code", {}, part) : part));

const parameterRow = (parameter) => [
  name(parameter.name, parameter.required),
  parameter.in,
  typeOf(parameter.schema),
  el("span", {}, ...words(parameter.description ?? parameter.schema?.description ?? "")),
];

function bodies(body) {
  return Object.entries(body?.content ?? {}).map(([kind, { schema }]) => {
    const { properties = {}, required = [] } = resolved(schema);
    const rows = Object.entries(properties).map(([field, of]) => [
      name(field, required.includes(field)),
      typeOf(of),
      el("span", {}, ...words(resolved(of).description ?? of.description ?? "")),
    ]);
    return table(`Body, as ${kind}`, ["field", "type", "description"], rows.length ? rows : [["", typeOf(schema), ""]]);
  });
}

function answerRow([status, { description, content }]) {
  const kinds = Object.entries(content ?? {}).map(([kind, { schema }]) => {
    const fields = Object.keys(resolved(schema).properties ?? {});
    return fields.length ? fields.join(", ") : kind;
  });
  return [el("code", {}, status), description ?? "", kinds.join(" or ")];
}

const name = (text, required) => el("span", {}, el("code", {}, text), required ? " (required)" : "");

function resolved(schema) {
  const target = schema?.$ref?.split("/").at(-1);
  return target ? (schemas[target] ?? {}) : (schema ?? {});
}

/** A type in a few words: `list of uuid`, `integer, 1 to 200, default 5`. */
function typeOf(schema) {
  if (!schema) return "";
  const several = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (several) return several.filter((each) => each.type !== "null").map(typeOf).join(" or ") + rest(schema);
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.enum) return schema.enum.join(" | ") + rest(schema);
  if (schema.const !== undefined) return String(schema.const);
  if (schema.type === "array") return `list of ${typeOf(schema.items) || "anything"}`;
  const binary = schema.format === "binary" || schema.contentMediaType;
  return (binary ? "file" : (schema.format ?? schema.type ?? "anything")) + rest(schema);
}

function rest({ minimum, maximum, default: given }) {
  const range = minimum !== undefined && maximum !== undefined ? `, ${minimum} to ${maximum}` : "";
  return range + (given === undefined || given === null ? "" : `, default ${JSON.stringify(given)}`);
}

function table(caption, columns, rows) {
  if (!rows.length) return null;
  return el(
    "div",
    {},
    el("h3", {}, caption),
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, ...columns.map((column) => el("th", { scope: "col" }, column)))),
      el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((cell) => el("td", {}, cell))))),
    ),
  );
}

show();
