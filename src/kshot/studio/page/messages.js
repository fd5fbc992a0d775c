// Messages: at the bottom of the page, and where videos are tried.

import { $, setText } from "./dom.js";
import { keepFocus } from "./focus.js";
import { nameOf } from "./labels.js";
import { request } from "./server.js";
import { sentence } from "./words.js";

let toastTimer = 0;

/** A sentence at the bottom of the page for some seconds, with a way back after a removal. */
export function toast(text, undo = false) {
  const node = $("toast");
  const [words, button] = node.children;
  setText(words, text);
  button.hidden = !undo;
  node.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(closeToast, undo ? 12000 : 8000);
}

export function closeToast() {
  keepFocus(() => { $("toast").hidden = true; });
}

/** Says something aloud, for screen readers alone. */
export function announce(text) {
  setText($("aloud"), text);
}

/** Makes a request, and shows an error at the bottom of the page; null if there was one. */
export async function attempt(method, path, body) {
  try {
    return (await request(method, path, body)) ?? true;
  } catch (error) {
    toast(sentence(error.message));
    return null;
  }
}

/** Says that a correction is a clip now, or that a question about it waits. */
export function thank({ kept }, label) {
  const name = nameOf(label);
  toast(kept ? `Thank you: it is a clip of “${name}” now. Teach again to use it.` : `Thank you. There is a question about it at “${name}”.`);
}

/** Removes something, and offers to take it back. */
export async function remove(path) {
  try {
    await request("DELETE", path);
    toast("Removed.", true);
  } catch (error) {
    toast(sentence(error.message));
  }
}

/** Says beside the try buttons what went wrong; nothing for "". */
export function complain(text) {
  $("try-said").hidden = !text;
  setText($("try-said"), text ? sentence(text) : "");
}
