// What is done to marks: drawn, moved, named, agreed to and removed. The server keeps each step, so that it can be undone.

import { keepFocus } from "./focus.js";
import { labelOf, nameOf } from "./labels.js";
import { desk, marksOf, proposed, snap, stretch } from "./marked.js";
import { announce, attempt, remove, toast } from "./messages.js";
import { stamp } from "./words.js";

/** Chooses a mark or a proposal, and shows where it begins; or nothing any more. */
export function choose(id) {
  desk.chosen = desk.chosen === id ? "" : id;
  desk.pending = null;
  const one = desk.chosen && stretch(desk.chosen);
  if (one) {
    const { part, look } = desk.parts.track;
    if (one.start < part.from || one.end > part.to) look((one.start + one.end) / 2, Math.max(part.to - part.from, (one.end - one.start) * 1.5));
    desk.parts.stage.seek(one.start);
  }
  desk.show();
  desk.parts.list.querySelector("[aria-pressed=true]")?.scrollIntoView({ block: "nearest", container: "nearest" });
}

/** Draws a new stretch; it is a mark once it has an action. */
export function drawn(start, end, done) {
  const [from, to] = done ? [snap(start), snap(end)] : [start, end];
  desk.pending = to > from ? { start: from, end: to, snapped: from !== start || to !== end } : { start, end };
  desk.chosen = "";
  desk.show();
  if (done) cutOut();
}

/** What was marked to cut out one action is a clip of it at once; after that, one is asked which it is. */
function cutOut() {
  if (!nameOf(desk.label) || !(desk.pending?.end > desk.pending.start)) return;
  pick(desk.label);
  desk.label = "";
}

/** The moment on the screen becomes an end of what is chosen, or of what is being marked. */
export function bracket(side) {
  const { time } = desk.parts.stage;
  if (desk.chosen) return moveEnd(desk.chosen, side, time, true);
  const at = snap(time);
  const now = desk.pending ?? { start: 0, end: 0 };
  const snapped = at !== time;
  if (side === "start") desk.pending = { start: at, end: now.end > at ? now.end : 0, snapped };
  else if (desk.pending && at > now.start) desk.pending = { ...now, end: at, snapped };
  else return toast(desk.pending ? "It has to end after it begins." : "Press [ where it begins first.");
  desk.show();
  if (side === "end") cutOut();
}

/** Moves an end of a mark or a proposal; what is proposed is only moved on the page until somebody agrees. */
export async function moveEnd(id, side, time, done) {
  const one = stretch(id);
  if (!one) return;
  const next = { start: one.start, end: one.end, [side]: done ? snap(time, one) : time };
  if (next.end <= next.start) {
    if (!done) return;
    desk.moved.delete(id); // back to where it is kept
    desk.show();
    toast("It has to end after it begins: its ends are where they were.");
    return;
  }
  desk.chosen = id;
  desk.moved.set(id, next);
  desk.show();
  if (!done || !one.film) return;
  const kept = await attempt("PATCH", `/api/marks/${id}`, { start: next.start, end: next.end });
  if (desk.moved.get(id) === next) {
    desk.moved.delete(id);
    if (!kept) desk.show();
  }
  if (kept) announce(`${one.label} is from ${stamp(next.start)} to ${stamp(next.end)} now.`);
}

/** An action for what is chosen, or for what is being marked. */
export async function pick(label) {
  if (!desk.film) return;
  const one = desk.chosen && stretch(desk.chosen);
  if (one?.film) {
    if (await attempt("PATCH", `/api/marks/${one.id}`, { label })) announce(`It is called ${nameOf(label)} now.`);
    return;
  }
  if (one) return agree(one.id, label);
  if (!(desk.pending?.end > desk.pending?.start)) return toast("Mark where it begins and ends first: [ and ].");
  const { pending } = desk;
  desk.pending = null; // a second number, pressed before the answer, is for something else
  if (!(await add(label, pending.start, pending.end))) desk.pending ??= pending;
  if (desk.film) desk.show();
}

/** A new action, for what is being marked if there is something. */
export const pickNew = (label) => (desk.chosen || desk.pending?.end ? pick(label) : undefined);

async function add(label, start, end, proposal = "") {
  const made = await attempt("POST", `/api/films/${desk.film}/marks`, { stretches: [{ label, start, end }], proposal });
  if (made) announce(`Marked ${nameOf(label)}, ${stamp(start)} to ${stamp(end)}.`);
  return made;
}

/** What was proposed, with its ends where they are now, becomes a mark: a clip to teach from. */
export async function agree(id, label = "") {
  const one = stretch(id);
  if (!one || one.film) return;
  const action = label || labelOf(one.label)?.id;
  if (!action) return toast(`There is no action “${one.label}” any more: choose another.`);
  const follows = after(id);
  if (!(await add(action, one.start, one.end, id))) return; // it is proposed no more, also where its ends were moved
  if (desk.film) decided(id, follows);
}

/** The proposal behind a chosen one, to which a decision on it goes on; nothing where another was decided on. */
const after = (id) => (desk.chosen === id ? proposed().find((other) => other.id !== id && other.start >= stretch(id).start) : null);

/** Goes on from one that was agreed to, or put aside. */
function decided(id, follows) {
  desk.moved.delete(id);
  if (desk.chosen === id) desk.chosen = "";
  const there = follows && proposed().some((other) => other.id === follows.id);
  keepFocus(() => (there ? choose(follows.id) : desk.show()));
}

/** Chooses the next proposal, the first one after the moment on the screen. */
export function next() {
  const others = proposed().filter((one) => one.id !== desk.chosen);
  const from = stretch(desk.chosen)?.start ?? desk.parts.stage.time;
  const one = others.find((other) => other.start >= from) ?? others[0];
  if (one) choose(one.id);
}

/** Takes a mark away, or puts a proposal aside. */
export async function drop(id) {
  if (marksOf(desk.film).some((one) => one.id === id)) return remove(`/api/marks/${id}`);
  const one = proposed().find((other) => other.id === id);
  if (!one) return;
  const follows = after(id);
  if (!(await attempt("POST", `/api/films/${desk.film}/aside`, { proposal: id, name: one.label }))) return;
  if (desk.film) decided(id, follows);
  announce(`${one.label} is put aside.`);
}
