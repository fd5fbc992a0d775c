// What to expect of the model, in plain words.

import { bars } from "./charts.js";
import { el } from "./dom.js";
import { UNKNOWN, classColour } from "./labels.js";
import { reveal } from "./show.js";
import { state } from "./state.js";
import { sentence, plural, percent } from "./words.js";

const URGENT = 2; // clips in doubt that are told before all else

/** Leads to a clip of this project; of a model taught elsewhere there is but its name. */
function clipButton(id) {
  const clip = state.clips.find((one) => one.id === id);
  if (!clip) return el("span", {}, /^[0-9a-f]{12}$/.test(id) ? "a clip that is gone" : id);
  return el("button", { type: "button", onclick: () => reveal(clip) }, clip.name);
}

const METHODS = {
  text: "its name alone", prototype: "mean of the clips", fusion: "mean and name", "linear-probe": "linear probe",
  otam: "order in time (OTAM)", partial: "fine-tuning the last layer",
};

/** What to expect, in plain words; what there is no need to act on is folded away unless `open`. */
export function report(taught, open = false) {
  const said = taught.report;
  const known = (one) => one.accuracy !== null && one.accuracy !== undefined;
  const words = [];
  const add = (...parts) => words.push(el("li", {}, ...parts));
  for (const one of said.suspects ?? []) {
    if (one.reason === "duplicate") add(clipButton(one.clip), " is nearly the same as ", clipButton(one.other),
      one.looks_like === one.label ? ": another one would teach more." : ` of “${one.looks_like}”: is one of them in the wrong place?`);
    else add(clipButton(one.clip), ` is called “${one.label}” but looks like “${one.looks_like}”: is it in the right place?`);
  }
  for (const [clip, why] of Object.entries(said.unreadable ?? {})) add(clipButton(clip), ` was left out: ${why}`);
  for (const one of said.classes ?? []) if (one.advice && !known(one)) add(`${sentence(one.label)}: ${one.advice}.`);
  for (const note of said.notes ?? []) if (!note.endsWith("see unreadable.")) add(note);
  const { threshold, auroc, refused } = said.unknown ?? {};
  if (typeof threshold === "number") add(`What it was not taught should be “unknown”. It is expected to tell taught from untaught ` +
    `in ${Math.round(auroc * 100)} of 100 pairs of clips, and to refuse ${percent(refused)} of the taught ones.`);
  const rows = (said.classes ?? []).filter(known).map((one) => ({
    name: one.label, share: one.accuracy, text: percent(one.accuracy), number: classColour(one.label, taught.classes),
    hint: mistaken((said.confusions ?? []).filter((other) => other.label === one.label)),
  }));
  const urgent = Math.min(URGENT, said.suspects?.length ?? 0);
  const rest = [...(rows.length ? [bars(rows)] : []), ...list(words.slice(urgent)), ...howFound(said)];
  return [...first(said), ...expected(said), ...sight(said), ...list(words.slice(0, urgent)),
    ...(rest.length ? [el("details", { class: "more", open }, el("summary", {}, "Each action, and what else is known"), ...rest)] : [])];
}

const list = (items) => (items.length ? [el("ul", { class: "words" }, ...items)] : []);

/** What to expect in one sentence. */
export function inWords({ report: { warning, accuracy, why } }) {
  if (warning) return warning;
  if (!accuracy) return `Nobody knows how good it is. ${sentence(why ?? "")}`;
  return `${percent(accuracy.value)} of new clips like these should be recognised; it may be ${percent(accuracy.low)} to ${percent(accuracy.high)}.`;
}

/** What is to be read before all else: that the actions are not told apart, and what to do. */
function first({ warning }) {
  return warning ? [el("p", { class: "said bad" }, warning)] : [];
}

/** What the model sees by, and what guessing would come to. */
function sight({ backbone, chance }) {
  const parts = [
    typeof chance === "number" ? `By guessing it would be ${percent(chance)}.` : "",
    backbone ? `Backbone: ${backbone}.` : "",
  ].filter(Boolean);
  return parts.length ? [el("p", { class: "hint" }, parts.join(" "))] : [];
}

/** What the clips of one action were taken for. */
function mistaken(confusions) {
  const parts = confusions.map((one) => `${one.count} ${one.taken_for === UNKNOWN ? "not recognised" : `taken for “${one.taken_for}”`}`);
  return parts.length ? `Of ${plural(confusions[0].of, "clip")}: ${parts.join(", ")}.` : "";
}

/** The share of new clips that should be recognised, and how sure that is; or why nobody knows. */
function expected({ accuracy, why }) {
  if (!accuracy) return [el("h3", {}, "It can be used, but nobody knows how good it is"), el("p", { class: "hint" }, sentence(why ?? ""))];
  const range = el("div", { class: "range", "aria-hidden": "true" }, el("i"), el("b"));
  range.children[0].style.left = `${accuracy.low * 100}%`;
  range.children[0].style.width = `${(accuracy.high - accuracy.low) * 100}%`;
  range.children[1].style.left = `${accuracy.value * 100}%`;
  return [
    el("h3", { class: "away" }, "What to expect"),
    el("div", { class: "figure" }, el("b", {}, percent(accuracy.value)),
      el("span", {}, `of new clips like these should be recognised; it may be ${percent(accuracy.low)} to ${percent(accuracy.high)}`)),
    range,
    el("div", { class: "ends", "aria-hidden": "true" }, el("span", {}, "0"), el("span", {}, "100\u00a0%")),
  ];
}

/** How a report was found, for those who want to know. */
function howFound({ accuracy, methods = [], method, unknown }) {
  const tried = methods.filter((one) => typeof one.accuracy === "number");
  const parts = [
    accuracy?.how ? el("p", { class: "hint" }, `${sentence(accuracy.how)}.`) : null,
    tried.length ? table(["method", "right", "interval"], tried.map((one) => ({
      cells: [METHODS[one.name] ?? one.name, percent(one.accuracy), `${percent(one.low)} to ${percent(one.high)}`], chosen: one.name === method,
    }))) : null,
    typeof unknown?.fpr95 === "number" ? el("p", { class: "hint" }, `Where 95\u00a0% of the taught clips are let through, ${percent(unknown.fpr95)} of untaught ones are, too.`) : null,
  ].filter(Boolean);
  return parts.length ? [el("details", {}, el("summary", {}, "How this was found"), ...parts)] : [];
}

function table(heads, rows) {
  return el("table", {},
    el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, ...rows.map(({ cells, chosen }) => el("tr", { class: chosen ? "chosen" : null },
      el("th", { scope: "row" }, cells[0] + (chosen ? " (chosen)" : "")), ...cells.slice(1).map((cell) => el("td", {}, cell))))));
}
