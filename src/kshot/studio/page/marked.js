// The film that is open to mark in, what is marked and proposed in it, and what is chosen of that.

import { nameOf } from "./labels.js";
import { setText } from "./dom.js";
import { state } from "./state.js";
import { proposalsOf } from "./track.js";
import { stamp } from "./words.js";

export const desk = { film: "", parts: null, chosen: "", pending: null, moved: new Map(), label: "", show: () => {} };

export const filmOf = () => state.films.find((one) => one.id === desk.film);
export const marksOf = (id) => state.clips.filter((clip) => clip.film === id).map((clip) => ({ ...clip, action: clip.label, label: nameOf(clip.label) ?? "" }));
export const proposed = () => proposalsOf(filmOf(), marksOf(desk.film));
/** Where an end would snap to; an end that is moved does not snap back to where `own` has its ends. */
export const snap = (time, own = null) => desk.parts.track.snapped(time, desk.parts.snap.checked, own);

/** What is marked and proposed, with the ends where they were moved to: a proposal's stay there until it is agreed to. */
export function stretches() {
  const moved = (one) => ({ ...one, ...desk.moved.get(one.id) });
  return { marks: marksOf(desk.film).map(moved), proposals: proposed().map(moved) };
}

/** The mark or proposal of that id. */
export function stretch(id) {
  const { marks, proposals } = stretches();
  return [...marks, ...proposals].find((one) => one.id === id);
}

/** Says what the next key does to the stretch that is being marked. */
export function sayNext() {
  const { pending, chosen } = desk;
  const one = chosen && stretch(chosen);
  const action = nameOf(desk.label);
  let text = action ? `Press [ where “${action}” begins and ] where it ends: that is a clip of it.` : "Press [ where an action begins and ] where it ends, or draw it on the line below.";
  const snapped = pending?.snapped ? " (snapped to the scores)" : "";
  if (one) text = `${one.label}, ${stamp(one.start)} to ${stamp(one.end)}: [ ] move its ends, 1 to 9 rename it${one.film ? "" : ", N: next"}.`;
  else if (pending?.end > pending?.start) text = `${stamp(pending.start)} to ${stamp(pending.end)}${snapped}: which action? Press its number.`;
  else if (pending) text = `It begins at ${stamp(pending.start)}${snapped}: press ] where it ends.`;
  setText(desk.parts.said, text);
  desk.parts.agree.hidden = !one || Boolean(one.film);
  desk.parts.drop.hidden = !one;
  setText(desk.parts.drop, one?.film ? "Remove" : "Put aside");
}
