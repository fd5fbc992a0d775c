// Messages: at the bottom of the page, and where videos are tried.

import { $, setText } from "./dom.js";
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
  toastTimer = setTimeout(() => { node.hidden = true; }, undo ? 12000 : 8000);
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

/** Removes something, and offers to take it back. */
export async function remove(path) {
  try {
    await request("DELETE", path);
    toast("Removed.", true);
  } catch (error) {
    toast(sentence(error.message));
  }
}

$("toast").lastElementChild.addEventListener("click", () => { $("toast").hidden = true; attempt("POST", "/api/undo"); });

/** Says beside the try buttons what went wrong; nothing for "". */
export function complain(text) {
  $("try-said").hidden = !text;
  setText($("try-said"), text ? sentence(text) : "");
}
