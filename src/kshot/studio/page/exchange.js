// Files of annotations: read into a film, and written from what is marked in it or found.

import { el } from "./dom.js";
import { filmOf } from "./marked.js";
import { menu } from "./menu.js";
import { toast } from "./messages.js";
import { request } from "./server.js";
import { state } from "./state.js";
import { plural, sentence } from "./words.js";

/** What a file says of the film becomes marks in it. */
export async function readFile(file) {
  if (!file) return;
  try {
    const { added, notes } = await request("POST", `/api/annotations?${new URLSearchParams({ film: filmOf().id, name: file.name })}`, file, true);
    toast([`${plural(added, "mark")} read from ${file.name}.`, ...notes.map((note) => `${sentence(note)}.`)].join(" "));
  } catch (error) {
    toast(sentence(error.message));
  }
}

/** Offers the formats that can be written. */
export function exportMenu(anchor) {
  const film = filmOf();
  const rows = (proposed) => Object.entries(state.limits.formats).map(([format, title]) => [title, () => {
    const query = new URLSearchParams(proposed ? { format, proposed } : { format });
    el("a", { href: `/api/films/${film.id}/annotations?${query}`, download: "" }).click();
  }]);
  if (!film.answer) return menu(anchor, "The marks as", rows(false));
  menu(anchor, "Export", [["What you have marked …", () => menu(anchor, "The marks as", rows(false))], ["What the model found …", () => menu(anchor, "The proposals as", rows(true))]]);
}
