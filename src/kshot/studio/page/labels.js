// Actions, and how each is told from the others by its colour.

import { el } from "./dom.js";
import { state } from "./state.js";

export const UNKNOWN = "unknown";

const COLOURS = 8;

export const labelOf = (name) => state.labels.find((label) => label.name === name);
export const nameOf = (id) => state.labels.find((label) => label.id === id)?.name;
export const colour = (node, number) => { node.style.setProperty("--c", `var(--c${number % COLOURS})`); return node; };

/** The colour of a class of the model; classes that are no action any more count on from behind. */
export function classColour(name, classes) {
  const label = labelOf(name);
  return label ? label.colour : COLOURS - 1 - (classes.indexOf(name) % COLOURS);
}

/** A dot of the colour of a class. */
export function swatch(name, classes = []) {
  const made = el("span", { class: name === UNKNOWN ? "swatch unknown" : "swatch", "aria-hidden": "true" });
  return name === UNKNOWN ? made : colour(made, classColour(name, classes));
}

/** A strip of 8 or 16 frames of a video. */
export function film(id, frames, alt) {
  const picture = el("img", { src: `/api/videos/${id}/strip?frames=${frames}`, alt, loading: "lazy", decoding: "async" });
  return el("span", { class: frames > 8 ? "film long" : "film" }, picture);
}
