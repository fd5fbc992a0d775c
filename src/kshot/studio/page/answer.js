// The answer about a video, and what puts a wrong one right.

import { bars, curves, legend } from "./charts.js";
import { el } from "./dom.js";
import { asFilm } from "./films.js";
import { UNKNOWN, called, labelOf, colour, classColour, swatch, film } from "./labels.js";
import { menu, opensMenu, labelChoices, newLabel } from "./menu.js";
import { toast, attempt, remove, thank } from "./messages.js";
import { request } from "./server.js";
import { state } from "./state.js";
import { sentence, percent, clock } from "./words.js";

/** The card of one tried video. */
export function answerCard(video) {
  const head = el("div", { class: "named" }, el("b", {}, video.name),
    el("button", { type: "button", class: "ghost", "aria-label": `Put ${video.name} away`, onclick: () => remove(`/api/videos/${video.id}`) }, "Put away"));
  const { answer, error, waiting } = video;
  if (waiting) return el("article", {}, head, film(video.id, 8, ""), el("p", { class: "wait" }, "Looking at it …"));
  if (error || answer?.model !== state.taught.model) {
    const why = error ? el("p", { class: "said bad" }, sentence(error)) : el("p", { class: "said" }, "There is no answer yet: the studio was closed before.");
    return el("article", {}, head, error ? null : film(video.id, 8, ""), why,
      el("button", { type: "button", onclick: () => attempt("POST", `/api/videos/${video.id}/again`) }, "Try again"));
  }
  return answer.kind === "clip" ? clipAnswer(video, head) : filmAnswer(video, head);
}

function clipAnswer(video, head) {
  const { answer } = video;
  const [{ label, score }] = answer.segments;
  const order = answer.classes.map((name, at) => [name, answer.proba[0][at]]).sort((a, b) => b[1] - a[1]);
  const truth = video.truth
    ? el("p", { class: `truth ${video.truth === label ? "right" : "wrong"}` }, video.truth === label ? "That is right." : `It really is “${video.truth}”.`)
    : null;
  return el("article", {}, head, film(video.id, 8, `Eight frames of ${video.name}`),
    el("p", { class: "verdict" }, swatch(label, answer.classes), el("b", {}, label),
      el("span", { class: "num" }, score === null ? "like none of the actions" : percent(score))),
    truth,
    bars(order.slice(0, 6).map(([name, share]) => ({ name, share, text: percent(share), number: classColour(name, answer.classes) }))),
    ...answer.notes.map((note) => el("p", { class: "hint" }, note)),
    el("div", { class: "fix" }, el("p", {}, "Wrong? One click makes it a clip of what it is:"),
      el("div", { class: "chips" },
        ...state.labels.filter((one) => one.name !== label).map((one) =>
          el("button", { type: "button", onclick: () => correct(video.id, one.id) }, swatch(one.name), one.name)),
        el("button", { type: "button", onclick: (event) => newLabel(event.currentTarget, (id) => correct(video.id, id)) }, "A new action …"))));
}

async function correct(id, label, span = {}) {
  try {
    thank(await request("PATCH", `/api/videos/${id}`, { label, ...span }), label);
  } catch (error) {
    toast(sentence(error.message));
  }
}

/** A long video: what it shows when. */
function filmAnswer(video, head) {
  const { answer } = video;
  const total = answer.seconds;
  const track = el("div", { class: "track" }, film(video.id, 16, `Sixteen frames of ${video.name}`));
  const spans = el("div", { class: "spans", "aria-hidden": "true" });
  const line = el("div", { class: "head-line", hidden: true });
  for (const [at, part] of answer.segments.entries()) {
    const width = ((part.end - part.start) / total) * 100;
    const span = el("i", {
      class: part.label === UNKNOWN ? "unknown" : null,
      title: `${part.label}, ${clock(part.start)} to ${clock(part.end)}`, onclick: () => found.children[at].firstElementChild.click(),
    }, part.label);
    if (part.label !== UNKNOWN) colour(span, classColour(part.label, answer.classes));
    span.style.left = `${(part.start / total) * 100}%`;
    span.style.width = `${width}%`;
    spans.append(span);
  }
  track.append(spans, curves(answer.classes, answer.times, answer.proba, 0, total), line);
  const found = el("ol", { class: "found plain", "aria-label": "What it shows when", tabindex: "-1" },
    ...answer.segments.map((part) => el("li", {}, el("button", {
      type: "button", ...opensMenu, onclick: ({ currentTarget }) => menu(currentTarget, "Wrong? These seconds really show", labelChoices(currentTarget, (label) =>
        correct(video.id, label, { start: part.start, end: part.end }), labelOf(called(part.label))?.id)),
    }, swatch(part.label, answer.classes), el("span", { class: "when" }, `${part.start.toFixed(1)} to ${part.end.toFixed(1)} s`), el("span", { class: "what" }, part.label),
      el("span", { class: "num" }, part.score === null ? "" : percent(part.score)), el("span", { class: "ask" }, "Wrong?")))));
  const player = el("video", { class: "player", src: `/api/videos/${video.id}/file`, controls: true, muted: true, playsinline: true, preload: "metadata", "aria-label": video.name });
  player.addEventListener("error", () => player.remove(), { once: true }); // the filmstrip stays
  player.addEventListener("timeupdate", () => {
    line.hidden = false;
    line.style.left = `${Math.min(100, ((player.currentTime - video.late) / total) * 100)}%`;
  });
  track.addEventListener("click", (event) => {
    if (!player.isConnected || event.target.closest(".spans")) return;
    const box = track.getBoundingClientRect();
    player.currentTime = video.late + ((event.clientX - box.left) / box.width) * total;
  });
  return el("article", {}, head, player, track,
    el("div", { class: "axis", "aria-hidden": "true" }, el("span", {}, "0"), el("span", {}, clock(total / 2)), el("span", {}, clock(total))),
    legend(answer.classes),
    el("div", { class: "row" }, el("button", { type: "button", onclick: () => asFilm(video.id) }, "Mark in it")), ...answer.notes.map((note) => el("p", { class: "hint" }, sentence(note))), found,
    video.truth ? el("p", { class: "truth" }, `It really shows, one after the other: ${video.truth}.`) : null);
}
