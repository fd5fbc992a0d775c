// The menu: choices below a button.

import { $, el } from "./dom.js";
import { swatch } from "./labels.js";
import { attempt } from "./messages.js";
import { state } from "./state.js";
import { sentence } from "./words.js";

/** What a button has that opens a menu. */
export const opensMenu = { "aria-haspopup": "menu", "aria-expanded": "false" };

/** Opens a menu of choices below a button. choices: [text, action], or null for a line. */
export function menu(anchor, heading, choices) {
  popup(anchor, "menu", heading, el("p", { role: "presentation" }, heading), ...choices.map((choice) => {
    if (choice === null) return el("hr");
    const [text, action, mark] = choice;
    return el("button", { type: "button", role: "menuitem", tabindex: "-1", onclick: () => { $("menu").hidePopover(); action(); } }, mark ?? null, text);
  }));
}

function popup(anchor, role, name, ...content) {
  const node = $("menu");
  node.setAttribute("role", role);
  node.setAttribute("aria-label", name);
  node.replaceChildren(...content);
  node.showPopover();
  if (anchor.hasAttribute("aria-expanded")) anchor.setAttribute("aria-expanded", "true");
  const place = anchor.getBoundingClientRect();
  const left = Math.max(8, Math.min(place.right - node.offsetWidth, innerWidth - node.offsetWidth - 8));
  const below = place.bottom + 4 + node.offsetHeight < innerHeight;
  node.style.left = `${left}px`;
  node.style.top = `${below ? place.bottom + 4 : Math.max(8, place.top - node.offsetHeight - 4)}px`;
  node.querySelector("input, button")?.focus();
  node.ontoggle = (event) => {
    if (event.newState !== "closed") return;
    if (anchor.hasAttribute("aria-expanded")) anchor.setAttribute("aria-expanded", "false");
    if (anchor.isConnected && node.contains(document.activeElement)) anchor.focus();
  };
}

$("menu").addEventListener("keydown", (event) => {
  const items = [...$("menu").querySelectorAll("[role=menuitem]")];
  const at = items.indexOf(document.activeElement);
  if (at < 0) return;
  if (event.key === "Tab") return $("menu").hidePopover(); // and on, from the button that opened it
  const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  items[(next + items.length) % items.length].focus();
});

/** Choices of an action: those there are, and a new one. */
export function labelChoices(anchor, pick, without = "") {
  const choices = state.labels
    .filter((label) => label.id !== without)
    .map((label) => [label.name, () => pick(label.id), swatch(label.name)]);
  return [...choices, null, ["A new action …", () => newLabel(anchor, pick)]];
}

/** Asks for a name, until `take` has taken one. */
export function askName(anchor, heading, what, take) {
  const input = el("input", { "aria-label": sentence(what), placeholder: what, maxlength: "60", required: true });
  popup(anchor, "group", heading, el("form", { autocomplete: "off", onsubmit: async (event) => {
    event.preventDefault();
    if (await take(input.value)) $("menu").hidePopover();
  } }, input, el("button", { type: "submit" }, "Add")));
}

/** Asks for the name of a new action, and picks it. */
export function newLabel(anchor, pick) {
  askName(anchor, "A new action", "name of the new action", async (name) => {
    const label = await attempt("POST", "/api/labels", { name });
    if (!label) return false;
    $("menu").hidePopover();
    state.labels.some((one) => one.id === label.id) || state.labels.push(label);
    pick(label.id);
    return true;
  });
}
