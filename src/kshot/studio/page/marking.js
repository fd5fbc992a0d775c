// Marking: what happens when in a long video, by hand and after what the model finds.

import { $, el, keyed, setText } from "./dom.js";
import { keepFocus } from "./focus.js";
import { labelOf, nameOf, swatch } from "./labels.js";
import { labelChoices, menu, newLabel, opensMenu } from "./menu.js";
import { announce, attempt, remove, toast } from "./messages.js";
import { request } from "./server.js";
import { makeStage } from "./stage.js";
import { state, render } from "./state.js";
import { makeTrack, proposalsOf } from "./track.js";
import { percent, plural, sentence, stamp } from "./words.js";

let open = null; // the film that is open, and the parts of the page that show it
const left = new Map(); // id of a film -> proposals that were put aside

/** Id of the film that is open; "" for none. */
export const marking = () => open?.id ?? "";

export function openMarking(id, at = 0) {
  const film = state.films.find((one) => one.id === id);
  if (!film) return;
  if (open?.id !== id) {
    closeMarking();
    open = build(film);
    $("marking").replaceChildren(open.node);
  }
  open.stage.seek(at);
  if (at < open.track.part.from || at > open.track.part.to) open.track.look(at);
}

export function closeMarking() {
  if (!open) return;
  open.stage.stop();
  open = null;
  keepFocus(() => $("marking").replaceChildren());
  render();
}

const filmOf = () => state.films.find((one) => one.id === open.id);
const marksOf = (id) => state.clips.filter((clip) => clip.film === id).map((clip) => ({ ...clip, action: clip.label, label: nameOf(clip.label) ?? "" }));
const found = () => proposalsOf(filmOf(), marksOf(open.id), left.get(open.id) ?? new Set());
const chosenMark = () => marksOf(open.id).find((one) => one.id === open.chosen);
const chosenProposal = () => found().find((one) => one.id === open.chosen);

function button(text, name, click, attributes = {}) {
  return el("button", { type: "button", "aria-label": name, title: name, onclick: click, ...attributes }, text);
}

function build(film) {
  const made = { id: film.id, chosen: "", pending: null, moving: null };
  made.stage = makeStage(film, () => open === made && tick());
  made.track = makeTrack(film, {
    seek: (time) => made.stage.seek(time),
    moved: () => open === made && show(),
    choose: (id) => choose(id),
    draw: (start, end, done) => { made.pending = { start: done ? snap(start) : start, end: done ? snap(end) : end }; made.chosen = ""; show(); if (done) waits(); },
    move: moveEnd,
  });
  made.snap = el("input", { type: "checkbox", checked: true });
  made.all = el("input", { type: "checkbox", onchange: () => attempt("PATCH", `/api/films/${film.id}`, { exhaustive: made.all.checked }) });
  made.time = el("span", { class: "num time" });
  made.said = el("p", { class: "hint pending-said", role: "status" });
  made.labels = el("div", { class: "chips labels" });
  made.list = el("ol", { class: "found plain", "aria-label": "Marks and proposals", tabindex: "-1" });
  made.look = el("div", { class: "row look" });
  const file = el("input", { type: "file", hidden: true, tabindex: "-1", "aria-label": "File of annotations", onchange: () => { readFile(file.files[0]); file.value = ""; } });
  const step = made.stage.step;
  const by = (seconds) => () => made.stage.seek(made.stage.time + seconds);
  made.play = button("▶", "Play or pause (K)", () => made.stage.toggle(), { class: "icon play", "aria-keyshortcuts": "K" });
  made.node = el("article", { class: "card marking" },
    el("div", { class: "named" }, el("b", {}, film.name),
      el("div", { class: "row" }, file,
        el("button", { type: "button", class: "ghost", onclick: () => file.click() }, "Import"),
        el("button", { type: "button", class: "ghost", ...opensMenu, onclick: (event) => exportMenu(event.currentTarget) }, "Export"),
        el("button", { type: "button", class: "ghost", ...opensMenu, onclick: (event) => filmMenu(event.currentTarget, film) }, "More"),
        button("×", "Close the film", closeMarking, { class: "icon" }))),
    made.stage.node,
    el("div", { class: "row transport" },
      button("−1 s", "Back one second (Shift and left arrow)", by(-1)), button("‹", "Back one frame (left arrow)", by(-step), { class: "icon" }),
      made.play, button("›", "On one frame (right arrow)", by(step), { class: "icon" }), button("+1 s", "On one second (Shift and right arrow)", by(1)),
      made.time,
      button("[ Start", "The action begins here ([)", () => bracket("start"), { "aria-keyshortcuts": "[", class: "bracket" }),
      button("End ]", "The action ends here (])", () => bracket("end"), { "aria-keyshortcuts": "]", class: "bracket" }),
      el("span", { class: "zoom" }, button("−", "Show more of the film", () => zoom(1.6), { class: "icon" }), button("+", "Show less of the film", () => zoom(0.625), { class: "icon" }))),
    made.labels, made.said, made.track.node,
    el("div", { class: "row switches" }, el("label", {}, made.snap, " Snap to where the scores change"),
      el("label", {}, made.all, " Everything is marked: the rest shows none of the actions")),
    made.look, made.list);
  return made;
}

export function renderMarking() {
  if (!open) return;
  const film = filmOf();
  if (!film) return closeMarking();
  open.track.film = film;
  open.all.checked = film.exhaustive;
  keyed(open.labels, [...state.labels.slice(0, 9), { id: "" }], (label) => label.id + (label.name ?? ""),
    (label) => (label.id
      ? el("button", { type: "button", onclick: () => pick(label.id) }, el("kbd", { "aria-hidden": "true" }), swatch(label.name), label.name)
      : el("button", { type: "button", ...opensMenu, onclick: (event) => (state.labels.length > 9 ? menu(event.currentTarget, "It shows", labelChoices(event.currentTarget, pick)) : newLabel(event.currentTarget, pick)) }, state.labels.length > 9 ? "More actions …" : "A new action …")),
    (node, label) => {
      const at = state.labels.indexOf(label) + 1;
      if (label.id) { setText(node.firstElementChild, String(at)); node.setAttribute("aria-keyshortcuts", String(at)); }
    });
  renderLook(film);
  show();
}

/** The model's part: it looks through the film when it is asked to, as that takes a while. */
function renderLook(film) {
  const key = JSON.stringify([film.waiting, film.error, Boolean(film.answer), film.answer?.model === state.taught?.model, Boolean(state.taught)]);
  if (open.look.dataset.key !== key) {
    open.look.dataset.key = key;
    const again = film.answer ? "Look through it again" : "Find the actions in it";
    const go = el("button", { type: "button", onclick: () => attempt("POST", `/api/films/${film.id}/look`) }, again);
    const bar = el("div", { class: "meter", role: "progressbar", "aria-label": "How far the film was looked through", "aria-valuemin": "0", "aria-valuemax": "100" }, el("i"));
    keepFocus(() => open.look.replaceChildren(...(!state.taught ? [el("p", { class: "hint" }, "Mark a few of each action, then press Teach: the model finds the others.")]
      : film.waiting ? [bar, el("span", { class: "num" }), el("button", { type: "button", onclick: () => attempt("DELETE", `/api/films/${film.id}/look`) }, "Stop")]
        : [go, el("p", { class: film.error ? "said bad" : "hint" }, film.error ? sentence(film.error)
          : film.answer && film.answer.model !== state.taught.model ? "Its proposals are of the model before."
            : film.answer ? film.answer.notes.map(sentence).join(" ") : "What it finds is proposed; it is a clip once you agree.")])));
  }
  const bar = open.look.querySelector(".meter");
  if (!bar) return;
  const done = Math.round(100 * (film.progress ?? 0));
  bar.firstElementChild.style.width = `${done}%`;
  bar.setAttribute("aria-valuenow", String(done));
  setText(open.look.querySelector(".num"), `${done} %`);
}

function tick() {
  const { time, video } = open.stage;
  setText(open.time, `${stamp(time)} / ${stamp(filmOf()?.seconds ?? 0)}`);
  setText(open.play, open.stage.moving ? "❚❚" : "▶");
  open.play.disabled = !open.stage.plays && !video.isConnected;
  const { part } = open.track;
  if (time < part.from || time > part.to) open.track.look(time + (part.to - part.from) * 0.4);
  else open.track.point(time);
}

/** Draws the lines and lists what is marked and proposed. */
function show() {
  const marks = marksOf(open.id).map((one) => (open.moving?.id === one.id ? { ...one, ...open.moving } : one));
  const proposals = found().map((one) => (open.moving?.id === one.id ? { ...one, ...open.moving } : one));
  if (open.chosen && ![...marks, ...proposals].some((one) => one.id === open.chosen)) open.chosen = "";
  open.track.draw({ marks, proposals, pending: open.pending, chosen: open.chosen, time: open.stage.time });
  waits(false);
  const rows = [...marks, ...proposals].sort((one, other) => one.start - other.start);
  keyed(open.list, rows, (row) => row.id, makeRow, updateRow);
  tick();
}

function makeRow(row) {
  const mark = Boolean(row.film);
  const go = el("button", { type: "button", class: "go", onclick: () => choose(row.id) }, el("span"), el("span", { class: "when" }), el("span", { class: "what" }), el("span", { class: "num" }));
  const small = (text, name, click, more = {}) => el("button", { type: "button", class: "small", "data-name": name, onclick: click, ...more }, text);
  return el("li", { class: mark ? "is-mark" : "is-proposal" }, go,
    mark ? null : small("Agree", "Agree", () => agree(row.id)),
    small("Change", "Change", (event) => menu(event.currentTarget, "It shows", labelChoices(event.currentTarget, (label) => { open.chosen = row.id; pick(label); })), opensMenu),
    small("×", mark ? "Remove" : "Put aside", () => drop(row.id)));
}

function updateRow(node, row) {
  const [mark, when, what, num] = node.firstElementChild.children;
  const text = `${stamp(row.start)} to ${stamp(row.end)}`;
  if (mark.dataset.of !== row.label) { mark.dataset.of = row.label; mark.replaceChildren(swatch(row.label, filmOf().answer?.classes ?? [])); }
  setText(when, text);
  setText(what, row.label);
  setText(num, row.film ? "" : `${percent(row.score)}, proposed`);
  node.firstElementChild.setAttribute("aria-pressed", String(row.id === open.chosen));
  for (const one of node.querySelectorAll(".small")) one.setAttribute("aria-label", `${one.dataset.name} ${row.label}, ${text}`);
}

/** Says what the next key does to the stretch that is being marked. */
function waits(aloud = true) {
  const { pending, chosen } = open;
  const one = chosen && (chosenMark() ?? chosenProposal());
  let text = "Press [ where an action begins and ] where it ends, or draw it on the line below.";
  if (one) text = `${one.label}, ${stamp(one.start)} to ${stamp(one.end)}: [ and ] move its ends, a number changes it${one.film ? ", Delete removes it" : ", A agrees"}.`;
  else if (pending?.end > pending?.start) text = `${stamp(pending.start)} to ${stamp(pending.end)}: which action? Press its number.`;
  else if (pending) text = `It begins at ${stamp(pending.start)}: press ] where it ends.`;
  if (aloud || open.said.textContent !== text) setText(open.said, text);
}

const snap = (time) => open.track.snapped(time, open.snap.checked);

function choose(id) {
  open.chosen = open.chosen === id ? "" : id;
  open.pending = null;
  const one = chosenMark() ?? chosenProposal();
  if (one) {
    open.stage.seek(one.start);
    const { part, look } = open.track;
    if (one.start < part.from || one.end > part.to) look((one.start + one.end) / 2, Math.max(part.to - part.from, (one.end - one.start) * 1.5));
  }
  show();
}

/** The moment on the screen becomes an end of what is chosen, or of what is being marked. */
function bracket(side) {
  const time = snap(open.stage.time);
  if (open.chosen) return moveEnd(open.chosen, side, open.stage.time, true);
  const now = open.pending ?? { start: 0, end: 0 };
  if (side === "start") open.pending = { start: time, end: now.end > time ? now.end : 0 };
  else if (open.pending && time > now.start) open.pending = { ...now, end: time };
  else return toast("Press [ where it begins first.");
  show();
  waits();
}

/** Moves an end of a mark or a proposal; what is proposed is only moved on the page until somebody agrees. */
async function moveEnd(id, side, time, done) {
  const one = [...marksOf(open.id), ...found()].find((other) => other.id === id);
  if (!one) return;
  const before = open.moving?.id === id ? open.moving : one;
  const next = { id, start: before.start, end: before.end, [side]: done ? snap(time) : time };
  if (next.end <= next.start) return done ? toast("It has to end after it begins.") : undefined;
  open.chosen = id;
  open.moving = next;
  show();
  if (!done || !one.film) return;
  await attempt("PATCH", `/api/marks/${id}`, { start: next.start, end: next.end });
  if (open?.moving === next) open.moving = null;
  announce(`${one.label} is from ${stamp(next.start)} to ${stamp(next.end)} now.`);
}

/** An action for what is chosen, or for what is being marked. */
async function pick(label) {
  if (!open) return;
  const mark = chosenMark();
  if (mark) return attempt("PATCH", `/api/marks/${mark.id}`, { label });
  const proposal = chosenProposal();
  if (proposal) return agree(proposal.id, label);
  if (!(open.pending?.end > open.pending?.start)) return toast("Mark where it begins and ends first: [ and ].");
  const { start, end } = open.pending;
  if (await add(label, start, end)) { if (open) { open.pending = null; show(); } }
}

async function add(label, start, end) {
  const made = await attempt("POST", `/api/films/${open.id}/marks`, { stretches: [{ label, start, end }] });
  if (made) announce(`Marked ${nameOf(label)}, ${stamp(start)} to ${stamp(end)}.`);
  return made;
}

/** What was proposed, with its ends where they are now, becomes a mark: a clip to teach from. */
async function agree(id, label = "") {
  const one = found().find((other) => other.id === id);
  const action = label || labelOf(one?.label)?.id;
  if (!one) return;
  if (!action) return toast(`There is no action “${one.label}” any more: choose another.`);
  const { start, end } = open.moving?.id === id ? open.moving : one;
  if (!(await add(action, start, end))) return;
  open.moving = null;
  aside(id); // also where the ends were moved away from it
}

function aside(id) {
  left.set(open.id, (left.get(open.id) ?? new Set()).add(id));
  if (open.chosen === id) open.chosen = "";
  keepFocus(show);
}

function drop(id) {
  const mark = marksOf(open.id).find((one) => one.id === id);
  if (mark) return remove(`/api/marks/${id}`);
  const one = found().find((other) => other.id === id);
  aside(id);
  announce(`${one?.label ?? "It"} is put aside.`);
}

function zoom(factor) {
  const { part, look } = open.track;
  look(open.stage.time, (part.to - part.from) * factor);
}

async function readFile(file) {
  if (!file) return;
  try {
    const { added, notes } = await request("POST", `/api/annotations?${new URLSearchParams({ film: open.id, name: file.name })}`, file, true);
    toast([`${plural(added, "mark")} read from ${file.name}.`, ...notes.map((note) => `${sentence(note)}.`)].join(" "));
  } catch (error) {
    toast(sentence(error.message));
  }
}

function exportMenu(anchor) {
  const fetched = (format, proposed) => () => {
    const query = new URLSearchParams(proposed ? { format, proposed } : { format });
    el("a", { href: `/api/films/${open.id}/annotations?${query}`, download: "" }).click();
  };
  const rows = (proposed) => Object.entries(state.limits.formats).map(([name, title]) => [title, fetched(name, proposed)]);
  if (!filmOf().answer) return menu(anchor, "The marks as", rows(false));
  menu(anchor, "Export", [["What you have marked …", () => menu(anchor, "The marks as", rows(false))], ["What the model found …", () => menu(anchor, "The proposals as", rows(true))]]);
}

function filmMenu(anchor, film) {
  menu(anchor, film.name, [["Remove the film and its marks", () => remove(`/api/videos/${film.id}`)]]);
}

/** The keys of the editor, wherever the focus is, but not where a text is written or a menu is open. */
addEventListener("keydown", (event) => {
  if (!open || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const at = event.target;
  if (at.matches("input:not([type=checkbox]), select, textarea") || at.closest("[popover], dialog, [role=menu]")) return;
  const { stage } = open;
  const keys = {
    "[": () => bracket("start"), "]": () => bracket("end"), k: () => stage.toggle(),
    ArrowLeft: () => stage.seek(stage.time - (event.shiftKey ? 1 : stage.step)), ArrowRight: () => stage.seek(stage.time + (event.shiftKey ? 1 : stage.step)),
    a: () => chosenProposal() && agree(open.chosen), Delete: () => open.chosen && drop(open.chosen), Escape: () => { open.chosen = ""; open.pending = null; open.moving = null; show(); },
  };
  const label = /^[1-9]$/.test(event.key) ? state.labels[Number(event.key) - 1] : null;
  const act = label ? () => pick(label.id) : keys[event.key.length === 1 ? event.key.toLowerCase() : event.key] ?? (event.key === " " && !at.closest("button, a, summary, input") ? keys.k : null);
  if (!act) return;
  event.preventDefault();
  act();
});

