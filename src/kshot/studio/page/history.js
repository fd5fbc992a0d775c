// Undo and redo: buttons at the top, and the keys that people know.

import { $ } from "./dom.js";
import { attempt, closeToast, toast } from "./messages.js";
import { state } from "./state.js";

const DONE = { undo: "Undone", redo: "Done again" };

/** Takes the last edit back ("undo"), or makes it again ("redo"). */
export async function step(way) {
  const found = await attempt("POST", `/api/${way}`);
  if (found) toast(found.what ? `${DONE[way]}: ${found.what}.` : `There is nothing to ${way}.`);
}

export function renderHistory() {
  for (const [way, keys] of [["undo", "Ctrl+Z"], ["redo", "Ctrl+Shift+Z"]]) {
    const button = $(way);
    const name = way === "undo" ? "Undo" : "Redo";
    button.disabled = !state[way];
    button.setAttribute("aria-label", state[way] ? `${name} ${state[way]}` : name);
    button.title = state[way] ? `${name} ${state[way]} (${keys})` : `Nothing to ${way}`;
  }
}

/** Whether a text is being changed, which the browser undoes itself. */
function writes(node) {
  return node.matches("input:not([type=file], [type=checkbox], [type=range]), textarea") && node.value !== (node.dataset.saved ?? "");
}

for (const way of ["undo", "redo"]) $(way).addEventListener("click", () => step(way));

const [, back, close] = $("toast").children;
back.addEventListener("click", () => { closeToast(); step("undo"); });
close.addEventListener("click", closeToast);

addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
  const key = event.key.toLowerCase();
  const way = key === "z" ? (event.shiftKey ? "redo" : "undo") : key === "y" && !event.shiftKey ? "redo" : "";
  if (!way || writes(event.target) || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  step(way);
});
