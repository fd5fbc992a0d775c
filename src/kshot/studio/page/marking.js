// Marking: what happens when in a long video, by hand and after what the model finds.

import { $, el, keyed, setText } from "./dom.js";
import { agree, bracket, choose, drawn, drop, moveEnd, next, pick, pickNew } from "./edits.js";
import { exportMenu, readFile } from "./exchange.js";
import { keepFocus } from "./focus.js";
import { swatch } from "./labels.js";
import { desk, filmOf, sayNext, stretches } from "./marked.js";
import { makeRow, updateRow } from "./marklist.js";
import { labelChoices, menu, newLabel, opensMenu } from "./menu.js";
import { attempt, remove } from "./messages.js";
import { makeStage } from "./stage.js";
import { state, render } from "./state.js";
import { makeTrack } from "./track.js";
import { sentence, stamp } from "./words.js";

const LISTED = 200; // marks and proposals that are listed at once

/** Opens a film at a moment, and plays it to another; `label` is the action that it is opened to cut out, if any. */
export function openMarking(id, at = 0, to = 0, label = "") {
  const film = state.films.find((one) => one.id === id);
  if (!film) return;
  if (desk.film !== id) {
    closeMarking();
    desk.film = id;
    desk.parts = build(film);
    desk.show = show;
    $("marking").replaceChildren(desk.parts.node);
  }
  desk.label = label;
  if (to) desk.parts.stage.playPart(at, to); else desk.parts.stage.seek(at);
}

export function closeMarking() {
  if (!desk.film) return;
  desk.parts.stage.stop();
  Object.assign(desk, { film: "", parts: null, chosen: "", pending: null, moved: new Map(), label: "", show: () => {} });
  keepFocus(() => $("marking").replaceChildren());
  render();
}

function button(text, name, click, attributes = {}) {
  return el("button", { type: "button", "aria-label": name, title: name, onclick: click, ...attributes }, text);
}

function build(film) {
  const made = {};
  const mine = () => desk.parts === made;
  const stage = makeStage(film, () => mine() && tick());
  const track = makeTrack(film, { seek: (time) => stage.seek(time), moved: () => mine() && show(), choose, draw: drawn, move: moveEnd });
  const file = el("input", { type: "file", hidden: true, tabindex: "-1", "aria-label": "File of annotations", onchange: () => { readFile(file.files[0]); file.value = ""; } });
  const by = (seconds) => () => stage.seek(stage.time + seconds);
  Object.assign(made, {
    stage, track, look: el("div", { class: "row look" }), said: el("p", { class: "hint", role: "status" }),
    agree: el("button", { type: "button", class: "small", "aria-keyshortcuts": "A", title: "Agree (A)", onclick: () => agree(desk.chosen) }, "Agree"),
    drop: el("button", { type: "button", class: "small", "aria-keyshortcuts": "Delete", title: "(Delete)", onclick: () => drop(desk.chosen) }),
    snap: el("input", { type: "checkbox", checked: true }), labels: el("div", { class: "chips labels" }), time: el("span", { class: "num time" }),
    all: el("input", { type: "checkbox", onchange: () => sayAll(film.id, made) }),
    folded: el("p", { class: "hint" }),
    list: el("ol", { class: "found plain", "aria-label": "Marks and proposals", tabindex: "-1" }),
    play: button("▶", "Play or pause (K)", () => stage.toggle(), { class: "icon play", "aria-keyshortcuts": "K" }),
  });
  made.node = el("article", { class: "card marking", tabindex: "-1", "aria-label": film.name },
    el("div", { class: "named" }, el("b", {}, film.name), el("div", { class: "row" }, file,
      el("button", { type: "button", class: "ghost", onclick: () => file.click() }, "Import"),
      el("button", { type: "button", class: "ghost", ...opensMenu, onclick: (event) => exportMenu(event.currentTarget) }, "Export"),
      el("button", { type: "button", class: "ghost", "aria-label": `Remove ${film.name}`, onclick: () => remove(`/api/videos/${film.id}`) }, "Remove"),
      button("×", "Close the film", closeMarking, { class: "icon" }))),
    stage.node,
    el("div", { class: "row transport" },
      button("−1 s", "Back one second (Shift and left arrow)", by(-1)), button("‹", "Back one frame (left arrow)", by(-stage.step), { class: "icon" }),
      made.play, button("›", "On one frame (right arrow)", by(stage.step), { class: "icon" }), button("+1 s", "On one second (Shift and right arrow)", by(1)),
      made.time,
      button("[ Start", "The action begins here ([)", () => bracket("start"), { "aria-keyshortcuts": "[", class: "bracket" }),
      button("End ]", "The action ends here (])", () => bracket("end"), { "aria-keyshortcuts": "]", class: "bracket" }),
      el("span", { class: "zoom" }, button("−", "Show more of the film", () => zoom(1.6), { class: "icon" }), button("+", "Show less of the film", () => zoom(0.625), { class: "icon" }))),
    made.labels, el("div", { class: "row pending-said" }, made.said, made.agree, made.drop), track.node,
    el("div", { class: "row switches" }, el("label", {}, made.snap, "Snap to where the scores change"),
      el("label", {}, made.all, "All is marked: the rest is none of them")),
    made.look, made.list, made.folded);
  return made;
}

/** Keeps the switch as it was set while that is on its way, whatever else comes from the server before. */
async function sayAll(id, { all }) {
  all.dataset.saving = "yes";
  const kept = await attempt("PATCH", `/api/films/${id}`, { exhaustive: all.checked });
  delete all.dataset.saving;
  if (!kept) all.checked = !all.checked;
}

export function renderMarking() {
  if (!desk.film) return;
  const film = filmOf();
  if (!film) return closeMarking();
  const { track, all, labels } = desk.parts;
  track.film = film;
  if (!all.dataset.saving) all.checked = film.exhaustive;
  const many = state.labels.length > 9;
  keyed(labels, [...state.labels.slice(0, 9), { id: "", name: String(many) }], (label) => label.id + label.name,
    (label) => (label.id
      ? el("button", { type: "button", onclick: () => pick(label.id) }, el("kbd", { "aria-hidden": "true" }), swatch(label.name), label.name)
      : el("button", { type: "button", ...opensMenu, onclick: ({ currentTarget }) => (many ? menu(currentTarget, "It shows", labelChoices(currentTarget, pick)) : newLabel(currentTarget, pickNew)) }, many ? "More actions …" : "A new action …")),
    (node, label) => {
      if (!label.id) return;
      const at = String(state.labels.indexOf(label) + 1);
      setText(node.firstElementChild, at);
      node.setAttribute("aria-keyshortcuts", at);
    });
  renderLook(film);
  show();
}

/** The model's part: it looks through the film when it is asked to, as that takes a while. */
function renderLook(film) {
  const { look } = desk.parts;
  const fits = film.answer?.model === state.taught?.model;
  const key = JSON.stringify([film.waiting, film.error, Boolean(film.answer), fits, film.stale, Boolean(state.taught)]);
  if (look.dataset.key !== key) {
    look.dataset.key = key;
    keepFocus(() => look.replaceChildren(...lookParts(film, fits)));
  }
  const bar = look.querySelector(".meter");
  if (!bar) return;
  const done = Math.round(100 * (film.progress ?? 0));
  bar.firstElementChild.style.width = `${done}%`;
  bar.setAttribute("aria-valuenow", String(done));
  setText(look.querySelector(".num"), `${done}\u00a0%`);
}

function lookParts(film, fits) {
  if (!state.taught) return [el("p", { class: "hint" }, "Mark a few of each action, then press Teach: the model finds the others.")];
  if (film.waiting) return [
    el("div", { class: "meter", role: "progressbar", "aria-label": "How far the film was looked through", "aria-valuemin": "0", "aria-valuemax": "100" }, el("i")),
    el("span", { class: "num" }), el("button", { type: "button", onclick: () => attempt("DELETE", `/api/films/${film.id}/look`) }, "Stop")];
  const said = film.error ? sentence(film.error) : !film.answer ? "What it finds is proposed; it is a clip once you agree."
    : !fits ? "Its proposals were of the model before."
    : film.stale ? "The threshold has changed since: look again to have it count here." : film.answer.notes.map(sentence).join(" ");
  return [el("button", { type: "button", onclick: () => attempt("POST", `/api/films/${film.id}/look`) }, film.answer ? "Look through it again" : "Find the actions in it"),
    el("p", { class: film.error ? "said bad" : "hint" }, said)];
}

/** What changes with the moment on the screen. */
function tick() {
  const { stage, track, time, play } = desk.parts;
  setText(time, `${stamp(stage.time)} / ${stamp(filmOf()?.seconds ?? 0)}`);
  setText(play, stage.moving ? "❚❚" : "▶");
  play.disabled = stage.still();
  const { part } = track;
  if (stage.time < part.from || stage.time > part.to) track.look(stage.time + (part.to - part.from) * 0.4);
  else track.point(stage.time);
}

/** Draws the lines and lists what is marked and proposed. */
function show() {
  const { marks, proposals } = stretches();
  if (desk.chosen && ![...marks, ...proposals].some((one) => one.id === desk.chosen)) desk.chosen = "";
  desk.parts.track.draw({ marks, proposals, pending: desk.pending, chosen: desk.chosen, time: desk.parts.stage.time });
  sayNext();
  const rows = [...marks, ...proposals].sort((one, other) => one.start - other.start);
  const { from, to } = desk.parts.track.part;
  const listed = rows.length > LISTED ? rows.filter((one) => one.id === desk.chosen || (one.end > from && one.start < to)) : rows;
  keyed(desk.parts.list, listed, (row) => row.id, makeRow, updateRow);
  setText(desk.parts.folded, listed.length < rows.length ? `${listed.length} of ${rows.length} marks and proposals: those in the part of the film that is shown.` : "");
  tick();
}

function zoom(factor) {
  const { stage, track } = desk.parts;
  track.look(stage.time, (track.part.to - track.part.from) * factor);
}

/** The keys of the editor, wherever the focus is, but not where a text is written or a menu is open. */
addEventListener("keydown", (event) => {
  const typed = "[]".includes(event.key) && !event.metaKey && (event.altKey || event.getModifierState("AltGraph")); // as many keyboards do
  if (!desk.film || event.defaultPrevented || (!typed && (event.ctrlKey || event.metaKey || event.altKey))) return;
  const at = event.target;
  if (at.matches("input:not([type=checkbox]), select, textarea") || at.closest("[popover], dialog")) return;
  const { stage } = desk.parts;
  const by = (way) => () => stage.seek(stage.time + way * (event.shiftKey ? 1 : stage.step));
  const keys = {
    "[": () => bracket("start"), "]": () => bracket("end"), k: () => stage.toggle(), ArrowLeft: by(-1), ArrowRight: by(1),
    a: () => agree(desk.chosen), n: () => next(), Delete: () => desk.chosen && drop(desk.chosen),
    Escape: () => { desk.moved.delete(desk.chosen); Object.assign(desk, { chosen: "", pending: null }); show(); },
  };
  if (event.key === " " && !at.closest("button, a, summary, input")) keys[" "] = keys.k;
  const label = /^[1-9]$/.test(event.key) ? state.labels[Number(event.key) - 1] : null;
  const act = label ? () => pick(label.id) : keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
