// The focus stays near where it was when its place goes; the body, where a keyboard would begin anew, never has it.

const CONTROL = "button, a[href], input[type=checkbox], select, summary, [tabindex]"; // no field: keys would write in it
const LAST = ["#undo", "#redo", "#add-name"]; // where nothing near is left

const usable = (node) => node.isConnected && node.checkVisibility() && !node.disabled && !node.closest("[popover], dialog");

/** Elements around one, the nearest first: what follows in the same row, what comes before it, then further out. */
function around(node) {
  const found = [];
  for (let at = node; at && at !== document.body; at = at.parentElement) {
    for (let next = at.nextElementSibling; next; next = next.nextElementSibling) found.push(next);
    for (let last = at.previousElementSibling; last; last = last.previousElementSibling) found.push(last);
  }
  return found;
}

/** Makes a change to the page; where it takes away what has the focus, that goes to the nearest control left. */
export function keepFocus(change) {
  const had = document.activeElement;
  const near = had && had !== document.body ? around(had) : null;
  change();
  if (!near || usable(had) || had.closest("[popover], dialog")?.checkVisibility()) return;
  const controls = near.filter((node) => node.isConnected).flatMap((node) => [node, ...node.querySelectorAll(CONTROL)].filter((one) => one.matches(CONTROL)));
  [...controls, ...LAST.map((one) => document.querySelector(one))].find(usable)?.focus();
}
