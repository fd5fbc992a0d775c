// The menu: choices below a button.

import { $, el } from "./dom.js";
import { swatch } from "./labels.js";
import { attempt } from "./messages.js";
import { state } from "./state.js";

/** Opens a menu of choices below a button. choices: [text, action] or null for a line; the last may be a form. */
export function menu(anchor, heading, choices) {
  popup(anchor, el("p", {}, heading), ...choices.map((choice) => {
    if (choice === null) return el("hr");
    const [text, action, mark] = choice;
    return el("button", { type: "button", onclick: () => { $("menu").hidePopover(); action(); } }, mark ?? null, text);
  }));
}

function popup(anchor, ...content) {
  const node = $("menu");
  node.replaceChildren(...content);
  node.showPopover();
  const place = anchor.getBoundingClientRect();
  const left = Math.max(8, Math.min(place.right - node.offsetWidth, innerWidth - node.offsetWidth - 8));
  const below = place.bottom + 4 + node.offsetHeight < innerHeight;
  node.style.left = `${left}px`;
  node.style.top = `${below ? place.bottom + 4 : Math.max(8, place.top - node.offsetHeight - 4)}px`;
  node.querySelector("input, button")?.focus();
  node.ontoggle = (event) => {
    if (event.newState === "closed" && anchor.isConnected && node.contains(document.activeElement)) anchor.focus();
  };
}

$("menu").addEventListener("keydown", (event) => {
  const buttons = [...$("menu").querySelectorAll("button")];
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length].focus();
});

/** Choices of an action: those there are, and a new one. */
export function labelChoices(anchor, pick, without = "") {
  const choices = state.labels
    .filter((label) => label.id !== without)
    .map((label) => [label.name, () => pick(label.id), swatch(label.name)]);
  return [...choices, null, ["A new action …", () => newLabel(anchor, pick)]];
}

/** Asks for the name of a new action, and picks it. */
export function newLabel(anchor, pick) {
  const input = el("input", { "aria-label": "Name of the new action", placeholder: "name of the new action", maxlength: "60", required: true });
  popup(anchor, el("form", { autocomplete: "off", onsubmit: async (event) => {
    event.preventDefault();
    const label = await attempt("POST", "/api/labels", { name: input.value });
    if (!label) return;
    $("menu").hidePopover();
    state.labels.some((one) => one.id === label.id) || state.labels.push(label);
    pick(label.id);
  } }, input, el("button", { type: "submit" }, "Add")));
}
