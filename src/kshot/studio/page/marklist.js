// The list of marks and proposals beside the line, for keyboards and screen readers as well.

import { el, setText } from "./dom.js";
import { agree, choose, drop, pick } from "./edits.js";
import { swatch } from "./labels.js";
import { desk } from "./marked.js";
import { labelChoices, menu, opensMenu } from "./menu.js";
import { percent, stamp } from "./words.js";

export function makeRow(row) {
  const go = el("button", { type: "button", class: "go", onclick: () => choose(row.id) }, el("span", { class: "dot" }), el("span", { class: "when" }), el("span", { class: "what" }), el("span", { class: "num" }));
  const small = (text, name, click, more = {}) => el("button", { type: "button", class: "small", "data-name": name, onclick: click, ...more }, text);
  return el("li", { class: row.film ? "is-mark" : "is-proposal" }, go,
    row.film ? null : small("Agree", "Agree", () => agree(row.id)),
    small("Change", "Change", ({ currentTarget }) => menu(currentTarget, "It shows", labelChoices(currentTarget, (label) => { desk.chosen = row.id; pick(label); })), opensMenu),
    small("×", row.film ? "Remove" : "Put aside", () => drop(row.id)));
}

export function updateRow(node, row) {
  const [dot, when, what, num] = node.firstElementChild.children;
  const text = `${stamp(row.start)} to ${stamp(row.end)}`;
  if (dot.dataset.of !== row.label) {
    dot.dataset.of = row.label;
    dot.replaceChildren(swatch(row.label));
  }
  setText(when, text);
  setText(what, row.label);
  setText(num, row.film ? "" : `${percent(row.score)}, proposed`);
  node.firstElementChild.setAttribute("aria-pressed", String(row.id === desk.chosen));
  for (const one of node.querySelectorAll(".small")) one.setAttribute("aria-label", `${one.dataset.name} ${row.label}, ${text}`);
}
