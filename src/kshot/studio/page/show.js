// 1, Show: the actions and their clips.

import { $, el, keyed, setText } from "./dom.js";
import { dropOn, filesOf } from "./drop.js";
import { labelOf, nameOf, colour, film } from "./labels.js";
import { menu, opensMenu, labelChoices } from "./menu.js";
import { toast, attempt, remove } from "./messages.js";
import { asFilm, openFilm } from "./films.js";
import { openRecorder } from "./recorder.js";
import { state, render } from "./state.js";
import { faults, sending, uploadClips } from "./upload.js";
import { sentence, plural, clock } from "./words.js";

const ROWS = 60; // clips that a page of folded actions shows, about
const LONG = 60; // seconds from which a video is one to mark in, as the server sees it
const FEWEST = 3; // of an action that is folded
const open = new Set(); // ids of the actions whose clips are all shown

export function renderShow() {
  const none = state.labels.length === 0;
  $("welcome").hidden = !state.example;
  $("empty").hidden = !none || state.drawing;
  $("example").hidden = state.drawing;
  $("add").querySelector(".row.hint").hidden = none;
  keyed($("actions"), state.labels, (label) => label.id, makeAction, updateAction);
}

function makeAction(label) {
  const id = label.id;
  const name = el("input", {
    value: label.name, maxlength: "60", "aria-label": "Name of the action", spellcheck: "false",
    onkeydown: (event) => {
      if (event.key === "Enter") name.blur();
      if (event.key === "Escape") { name.value = name.dataset.saved; name.blur(); }
    },
    onblur: async () => {
      const same = name.value.trim() === name.dataset.saved;
      if (same || !(await attempt("PATCH", `/api/labels/${id}`, { name: name.value }))) name.value = name.dataset.saved;
    },
  });
  const input = el("input", {
    type: "file", multiple: true, accept: "video/*,.mkv,.avi,.flv,.wmv,.ts", hidden: true, tabindex: "-1",
    "aria-label": "Clips to add", onchange: () => { uploadClips([...input.files], id); input.value = ""; },
  });
  const card = el("li", { class: "action" },
    el("div", { class: "title" }, el("span", { class: "swatch", "aria-hidden": "true" }), name, el("span", { class: "count" })),
    el("ul", { class: "clips plain" }),
    el("button", { type: "button", class: "ghost fold", onclick: () => { open.delete(id) || open.add(id); render(); } }),
    el("p", { class: "none" }),
    el("div", { class: "faults", role: "alert" }),
    el("div", { class: "tools" },
      el("button", { type: "button", class: "pick", onclick: () => input.click() }, "Add clips"),
      el("button", { type: "button", class: "record", onclick: () => openRecorder(id) }, "Record"),
      input,
      el("button", { type: "button", class: "ghost drop-action", onclick: () => remove(`/api/labels/${id}`) }, "Remove")));
  dropOn(card, (files) => uploadClips(files, id));
  return card;
}

function updateAction(card, label) {
  const clips = state.clips.filter((clip) => clip.label === label.id);
  const name = card.querySelector(".title input");
  if (name.dataset.saved !== label.name) {
    if (document.activeElement !== name) name.value = label.name;
    name.dataset.saved = label.name;
  }
  colour(card, label.colour);
  const coming = sending.get(label.id) ?? [];
  const before = label.before ? `${label.before} taught before` : "";
  setText(card.querySelector(".count"), [before, coming.length ? `adding ${coming.length} …` : plural(clips.length, "clip")].filter(Boolean).join(", "));
  for (const [part, verb] of [["pick", "Add clips to"], ["record", "Record"], ["drop-action", "Remove the action"]])
    card.querySelector(`.${part}`).setAttribute("aria-label", `${verb} ${label.name}`);
  const hint = card.querySelector(".none");
  hint.hidden = clips.length + coming.length > 0;
  setText(hint, label.before ? "Drop videos here to teach it more." : "No clips yet: drop videos here, or record some.");
  const few = Math.max(FEWEST, Math.floor(ROWS / state.labels.length));
  const long = clips.length > few + 2; // to fold less away is not worth a click
  const all = !long || open.has(label.id);
  const fold = card.querySelector(".fold");
  fold.hidden = !long;
  fold.setAttribute("aria-expanded", String(all));
  setText(fold, all ? `Show the first ${few} alone` : `Show all ${clips.length} clips`);
  const rows = [...(all ? clips : clips.slice(0, few)), ...coming.slice(0, few)];
  keyed(card.querySelector(".clips"), rows, (row) => row.id ?? row.key, (row) => (row.id ? makeClip(row) : makeComing(row)),
    (node, row) => row.id && updateClip(node, row));
  const doubtful = state.doubtful.filter((video) => video.label === label.id);
  const notes = [...doubtful, ...(doubtful.length > 1 ? [{ key: "all", doubtful }] : []), ...(faults.get(label.id) ?? [])];
  keyed(card.querySelector(".faults"), notes, (note) => note.id ?? note.key + (note.doubtful?.length ?? ""),
    (note) => (note.text ? makeFault(note, label.id) : makeQuestion(note)));
}

function makeFault(fault, label) {
  return el("div", { class: "fault" }, el("span", {}, sentence(fault.text)),
    el("button", { type: "button", class: "icon", "aria-label": "Dismiss", onclick: () => {
      faults.set(label, faults.get(label).filter((other) => other !== fault));
      render();
    } }, "×"));
}

/** Asks whether an odd video is to become a clip; or all of them. */
function makeQuestion({ id, name, label, doubt, doubtful, seconds }) {
  const ids = doubtful ? doubtful.map((video) => video.id) : [id];
  const whom = doubtful ? `all ${ids.length}` : name;
  const answer = (method) => async () => { for (const one of ids) await attempt(method, `/api/videos/${one}/keep`); };
  return el("div", { class: "question" }, doubtful ? null : film(id, 8, `Eight frames of ${name}`),
    el("span", {}, doubtful ? `Or all ${ids.length} at once:` : `“${name}” ${doubt}. Add it all the same?`),
    el("div", { class: "row" },
      seconds > LONG ? el("button", { type: "button", class: "primary", "aria-label": `Trim ${whom}`, title: "Cut out what shows the action", onclick: () => asFilm(id, label) }, "Trim it") : null,
      el("button", { type: "button", "aria-label": `Add ${whom}`, onclick: answer("POST") }, doubtful ? "Add all" : "Add it"),
      el("button", { type: "button", "aria-label": `Leave ${whom} out`, onclick: answer("DELETE") }, doubtful ? "Leave all out" : "Leave it out")));
}

/** Brings a clip into sight, also where its action is folded. */
export function reveal(clip) {
  open.add(clip.label);
  render();
  const row = document.querySelector(`.clip[data-key="${clip.id}"]`);
  row?.scrollIntoView({ block: "center", behavior: "smooth" });
  row?.querySelector(".more").focus({ preventScroll: true });
}

/** Holds the place of a clip that is on its way. */
function makeComing(file) {
  return el("li", { class: "coming" }, el("span", { class: "film" }), el("div", { class: "about" }, el("b", {}, file.name), el("span", {}, "adding …")));
}

function makeClip(clip) {
  return el("li", { class: "clip" },
    el("button", { type: "button", class: "plays", onclick: () => { const now = state.clips.find((one) => one.id === clip.id); if (now?.film) openFilm(now.film, now.start, now.end); else playClip(now); } }, clip.film ? moments(clip) : film(clip.id, 8, "")),
    el("div", { class: "about" }, el("b"), el("span"), el("em", { hidden: true })),
    el("button", { type: "button", class: "icon more", ...opensMenu, onclick: (event) => clipMenu(event.currentTarget, clip.id) }, "⋯"));
}

const momentsOf = ({ film: id, start, end }) => `/api/films/${id}/moments?start=${start}&end=${end}`;
const moments = (clip) => el("span", { class: "film" }, el("img", { src: momentsOf(clip), alt: "", loading: "lazy", decoding: "async" }));

/** Plays a clip, or shows more of its frames where the browser cannot. */
function playClip(clip) {
  const player = el("video", { class: "player", src: `/api/videos/${clip.id}/file`, controls: true, autoplay: true, loop: true, muted: true, playsinline: true, "aria-label": clip.name });
  player.muted = true;
  player.addEventListener("error", () => player.replaceWith(film(clip.id, 16, `Sixteen frames of ${clip.name}`)), { once: true });
  setText($("player-title"), clip.name);
  $("player-stage").replaceChildren(player);
  $("player").showModal();
}

$("player").addEventListener("close", () => $("player-stage").replaceChildren());

function updateClip(row, clip) {
  const name = nameOf(clip.label);
  const [title, length, doubt] = row.querySelector(".about").children;
  row.querySelector("img").alt = `Eight frames of ${clip.name}`;
  row.querySelector(".plays").setAttribute("aria-label", `Play ${clip.name}`);
  if (clip.film) { const url = momentsOf(clip); if (row.querySelector("img").getAttribute("src") !== url) row.querySelector("img").src = url; }
  setText(title, clip.name);
  title.title = clip.name;
  setText(length, clock(clip.seconds) + ({ correction: ", corrected", camera: ", recorded" }[clip.source] ?? ""));
  const suspect = state.taught?.report.suspects?.find((one) => one.clip === clip.id && one.label === name);
  doubt.hidden = !suspect;
  length.hidden = Boolean(suspect);
  setText(doubt, suspect ? (suspect.reason === "duplicate" ? "much like another" : `${suspect.looks_like}?`) : "");
  row.querySelector(".more").setAttribute("aria-label", `Change ${clip.name} of ${name}`);
}

function clipMenu(anchor, id) {
  const clip = state.clips.find((one) => one.id === id);
  menu(anchor, "It shows", [
    ...labelChoices(anchor, (label) => attempt("PATCH", `/api/${clip.film ? "marks" : "videos"}/${id}`, { label }), clip.label),
    null,
    ["Remove the clip", () => remove(`/api/${clip.film ? "marks" : "videos"}/${id}`)],
  ]);
}

$("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = $("add-name");
  if (await attempt("POST", "/api/labels", { name: input.value })) input.value = "";
});

$("own").addEventListener("click", async () => {
  if (!(await attempt("POST", "/api/clear"))) return;
  toast("The example is put away.", true);
  $("add-name").focus();
});

$("example").addEventListener("click", () => attempt("POST", "/api/example"));

dropOn($("add"), () => toast("Drop a folder here, or files on an action's card."), async (folders) => {
  for (const folder of folders) {
    const there = labelOf(folder.name) ?? (await attempt("POST", "/api/labels", { name: folder.name }));
    if (there) await uploadClips(await filesOf(folder), there.id);
  }
});
