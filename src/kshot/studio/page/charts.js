// Bars and curves of scores.

import { SVG, el } from "./dom.js";
import { colour, classColour, swatch } from "./labels.js";

/** A row with a bar for each {name, share, text}, in the colour `number`, with a `hint` below where there is one. */
export function bars(rows) {
  const node = el("div", { class: "bars" });
  for (const { name, share, text, number, hint } of rows) {
    const fill = el("i");
    fill.style.width = `${share * 100}%`;
    const bar = el("span", { class: "bar", "aria-hidden": "true" }, fill);
    if (number !== undefined) colour(bar, number);
    node.append(el("span", { class: "name" }, name), bar, el("span", { class: "num" }, text));
    if (hint) node.append(el("span", { class: "hint" }, hint));
  }
  return node;
}

/** Score curves: one line a class over the time from `from` to `to`; 0 at the bottom, 1 at the top. */
export function curves(classes, times, proba, from, to) {
  const node = document.createElementNS(SVG, "svg");
  node.setAttribute("class", "curves");
  node.setAttribute("viewBox", "0 0 1000 100");
  node.setAttribute("preserveAspectRatio", "none");
  node.setAttribute("aria-hidden", "true");
  for (const y of [0, 50, 100]) {
    const line = document.createElementNS(SVG, "line");
    for (const [name, value] of Object.entries({ x1: 0, x2: 1000, y1: y, y2: y })) line.setAttribute(name, value);
    node.append(line);
  }
  for (const [at, name] of classes.entries()) {
    const path = document.createElementNS(SVG, "path");
    const points = times.map((time, row) => `${(((time - from) / (to - from)) * 1000).toFixed(1)} ${(100 - proba[row][at] * 100).toFixed(1)}`);
    path.setAttribute("d", points.length ? `M${points.join("L")}` : "");
    const number = classColour(name, classes);
    if (number % 2) path.setAttribute("class", "dash");
    node.append(colour(path, number));
  }
  return node;
}

/** Which colour is which class. */
export const legend = (classes) => el("div", { class: "key", "aria-hidden": "true" }, ...classes.map((name) => el("span", {}, swatch(name, classes), name)));
