// Actions, and how each is told from the others by its colour.

import { el } from "./dom.js";
import { state } from "./state.js";

export const UNKNOWN = "unknown";

const COLOURS = 12;

/** What a class of the model is called by now: its action may have been renamed since. */
export const called = (name) => state.taught?.renamed[name] ?? name;
export const labelOf = (name) => state.labels.find((label) => label.name === name);
export const nameOf = (id) => state.labels.find((label) => label.id === id)?.name;
export const colour = (node, number) => { node.style.setProperty("--c", `var(--c${number % COLOURS})`); return node; };

/** The colour of a class of the model; classes that are no action any more count on from behind. */
export const classColour = (name, classes) => nameColour(called(name), classes.indexOf(name));
/** The colour of an action by its name; `place` is among the classes, for one that is no action any more. */
export const nameColour = (name, place = 0) => labelOf(name)?.colour ?? COLOURS - 1 - (place % COLOURS);

/** A dot of the colour of an action, or of a class of the model where its `classes` are given. */
export function swatch(name, classes = null) {
  const made = el("span", { class: name === UNKNOWN ? "swatch unknown" : "swatch", "aria-hidden": "true" });
  return name === UNKNOWN ? made : colour(made, classes ? classColour(name, classes) : nameColour(name));
}

/** A strip of 8 or 16 frames of a video. */
export function film(id, frames, alt) {
  const picture = el("img", { src: `/api/videos/${id}/strip?frames=${frames}`, alt, loading: "lazy", decoding: "async" });
  return el("span", { class: frames > 8 ? "film long" : "film" }, picture);
}
