// The focus stays near where it was when its place goes; the body, where a keyboard would begin anew, never has it.

const CONTROL = "button, a[href], input:not([hidden]), select, summary, [tabindex]";
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
  for (const node of [...near, ...LAST.map((one) => document.querySelector(one))]) {
    if (!node.isConnected) continue;
    const control = [node, ...node.querySelectorAll(CONTROL)].find((one) => one.matches(CONTROL) && usable(one));
    if (control) return control.focus();
  }
}
