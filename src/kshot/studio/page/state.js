// What the server said last, and everything on the page that follows it.

import { keepFocus } from "./focus.js";

export let state = null;
const parts = []; // what shows the state, in the order in which it is shown

/** Keeps parts of the page in step with the state: each is a function that shows it. */
export function shows(...more) {
  parts.push(...more);
}

/** Takes what the server has sent. */
export function replaceState(next) {
  state = next;
  render();
}

/** Shows what there is, also what is known on the page alone, such as files on their way. */
export function render() {
  if (state) keepFocus(() => parts.forEach((part) => part()));
}
