// Long videos: the list of them, and opening one to mark actions in it.

import { $, el, keyed, setText } from "./dom.js";
import { desk } from "./marked.js";
import { closeMarking, openMarking } from "./marking.js";
import { announce, attempt, toast } from "./messages.js";
import { state, render } from "./state.js";
import { upload } from "./upload.js";
import { clock, plural, sentence, wait } from "./words.js";

let coming = ""; // name of the film that is on its way

export function renderFilms() {
  const { films } = state;
  $("films").hidden = !(films.length || coming);
  setText($("film-coming"), coming ? `Adding ${coming} …` : "");
  keyed($("films").querySelector("ul"), films, (film) => film.id,
    (film) => el("li", {}, el("button", { type: "button", onclick: () => (desk.film === film.id ? closeMarking() : openFilm(film.id)) })),
    (node, film) => {
      const marks = state.clips.filter((clip) => clip.film === film.id).length;
      const button = node.firstElementChild;
      setText(button, `${film.name}, ${clock(film.seconds)}, ${plural(marks, "mark")}`);
      button.setAttribute("aria-pressed", String(desk.film === film.id));
    });
}

/** Opens a film to mark in it: see `openMarking`. */
export function openFilm(id, at = 0, to = 0, label = "") {
  openMarking(id, at, to, label);
  render();
  const card = desk.parts.node;
  card.focus({ preventScroll: true }); // the keys are the editor's from here on
  (to ? desk.parts.stage.node : card).scrollIntoView({ block: "nearest" });
  announce(`${state.films.find((film) => film.id === id)?.name ?? "The film"} is open to mark in.`);
}

/** Makes a long video a film, and opens it; `label` is the action that it is to be cut out of it, if any. */
export async function asFilm(id, label = "") {
  const made = await attempt("POST", `/api/videos/${id}/film`);
  if (made && (await arrived(made))) openFilm(made.id, 0, 0, label);
}

/** Waits for a film to be in the state; whether it is one. */
export async function arrived({ id, version = 0 }) {
  for (let waits = 0; state.version < version && waits < 80; waits += 1) await wait(25);
  return state.films.some((film) => film.id === id);
}

async function add([file]) {
  if (!file) return;
  coming = file.name;
  render();
  try {
    const made = await upload(file);
    coming = "";
    if (await arrived(made)) openFilm(made.id);
    else await asFilm(made.id); // short, but put in as one
  } catch (error) {
    toast(sentence(error.message));
  } finally {
    coming = "";
    render();
  }
}

for (const button of document.querySelectorAll(".film-open")) button.addEventListener("click", () => $("film-input").click());
$("film-input").addEventListener("change", () => { add([...$("film-input").files]); $("film-input").value = ""; });
