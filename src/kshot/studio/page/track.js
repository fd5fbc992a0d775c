// A film's time as a line: the whole of it, and a part of it in which marks are drawn, moved and snapped.

import { curves } from "./charts.js";
import { el } from "./dom.js";
import { called, colour, nameColour } from "./labels.js";
import { state } from "./state.js";
import { stamp } from "./words.js";

const NEAR = 0.6; // seconds within which an end snaps to where the scores change, and
const REACH = 8; // pixels of the part that is shown: what is looked at closely is set closely
const FIRST = 30; // seconds that are shown at first
const AGAIN = 5000; // milliseconds until a strip is asked for again that did not come
const LEAST = 2; // seconds of the part that is shown, at least

/** The part of a film that is shown, and all that is drawn in it. `act` has seek, draw, move, choose and moved. */
export function makeTrack(film, act) {
  const part = { from: 0, to: Math.min(film.seconds, FIRST) };
  const shown = el("img", { alt: "", onerror: () => { again = setTimeout(() => { shown.dataset.url = ""; act.moved(); }, AGAIN); } });
  const strip = el("span", { class: "film long" }, shown);
  const lanes = el("div", { class: "lanes" });
  const plot = el("div", { class: "plot" });
  const line = el("div", { class: "head-line" });
  const detail = el("div", { class: "track part", "aria-hidden": "true" }, strip, lanes, plot, line);
  const whole = el("div", { class: "track whole", "aria-hidden": "true" },
    el("span", { class: "film long" }, el("img", { src: `/api/videos/${film.id}/strip?frames=16`, alt: "" })),
    el("div", { class: "spans" }), el("div", { class: "window" }), el("div", { class: "head-line" }));
  const axis = el("div", { class: "axis", "aria-hidden": "true" }, el("span"), el("span"), el("span"));
  const node = el("div", {}, detail, axis, whole);
  let timer = 0;
  let again = 0; // until a strip is asked for again that did not come
  let drawn = ""; // what the line of the whole film shows: an hour has thousands of them

  const share = (time) => ((time - part.from) / (part.to - part.from)) * 100;
  const timeAt = (event, box, from, to) => from + ((event.clientX - box.left) / box.width) * (to - from);
  const inPart = (event) => Math.min(film.seconds, Math.max(0, timeAt(event, detail.getBoundingClientRect(), part.from, part.to)));

  /** Shows another part, about `middle` and of `length` seconds. */
  function look(middle, length = part.to - part.from) {
    const long = Math.min(film.seconds, Math.max(LEAST, length));
    part.from = Math.min(Math.max(0, middle - long / 2), film.seconds - long);
    part.to = part.from + long;
    act.moved();
  }

  /** Where the scores change next to a moment, if that is near and no end of `own`; else the moment. */
  function snapped(time, snaps, own) {
    const ends = snaps && film.answer ? film.answer.segments.flatMap((one) => [one.start, one.end]) : [];
    const others = ends.filter((one) => one !== own?.start && one !== own?.end);
    const near = others.reduce((best, one) => (Math.abs(one - time) < Math.abs(best - time) ? one : best), Infinity);
    const reach = Math.min(NEAR, (REACH * (part.to - part.from)) / (detail.clientWidth || 1));
    return Math.abs(near - time) <= reach ? near : time;
  }

  function bar(one, kind, chosen) {
    const made = el("i", { class: `${kind}${chosen ? " chosen" : ""}`, title: `${one.label}, ${stamp(one.start)} to ${stamp(one.end)}` },
      el("span", {}, one.label));
    colour(made, nameColour(one.label));
    made.style.left = `${share(one.start)}%`;
    made.style.width = `${share(one.end) - share(one.start)}%`;
    made.dataset.id = one.id;
    if (kind === "proposal" && !chosen) return made;
    for (const side of ["start", "end"]) made.append(el("b", { class: side }));
    return made;
  }

  function draw({ marks, proposals, pending, chosen, time }) {
    const seen = (one) => one.end > part.from && one.start < part.to;
    const rows = [el("div", { class: "lane", "data-lane": "marks" }, ...marks.filter(seen).map((one) => bar(one, "mark", one.id === chosen)))];
    if (film.answer) rows.push(el("div", { class: "lane proposals", "data-lane": "proposals" },
      ...proposals.filter(seen).map((one) => bar(one, "proposal", one.id === chosen))));
    if (pending && pending.end > pending.start) {
      const made = el("i", { class: "pending" });
      made.style.left = `${share(pending.start)}%`;
      made.style.width = `${share(pending.end) - share(pending.start)}%`;
      rows[0].append(made);
    }
    lanes.replaceChildren(...rows);
    const answer = film.answer;
    if (answer) {
      const first = answer.times.findIndex((at) => at >= part.from);
      const found = answer.times.findIndex((at) => at > part.to);
      const range = [Math.max(0, first - 1), found < 0 ? answer.times.length : found + 1];
      plot.replaceChildren(first < 0 ? "" : curves(answer.classes, answer.times.slice(...range), answer.proba.slice(...range), part.from, part.to));
    } else plot.replaceChildren();
    for (const [at, text] of [stamp(part.from), stamp((part.from + part.to) / 2), stamp(part.to)].entries()) axis.children[at].textContent = text;
    const spans = whole.querySelector(".spans");
    const now = JSON.stringify([marks, proposals].map((ones) => ones.map((one) => [one.start, one.end, one.label])));
    if (drawn !== now) spans.replaceChildren(...[...proposals.map((one) => [one, "proposal"]), ...marks.map((one) => [one, ""])].map(([one, kind]) => {
      const made = colour(el("i", { class: kind || null }), nameColour(one.label));
      made.style.left = `${(one.start / film.seconds) * 100}%`;
      made.style.width = `max(2px, ${((one.end - one.start) / film.seconds) * 100}%)`;
      return made;
    }));
    drawn = now;
    const window = whole.querySelector(".window");
    window.style.left = `${(part.from / film.seconds) * 100}%`;
    window.style.width = `max(3px, ${((part.to - part.from) / film.seconds) * 100}%)`;
    const url = `/api/films/${film.id}/moments?start=${part.from.toFixed(2)}&end=${part.to.toFixed(2)}&frames=16`;
    if (shown.dataset.url !== url) {
      shown.dataset.url = url;
      clearTimeout(timer);
      clearTimeout(again);
      timer = setTimeout(() => { shown.src = url; }, shown.src ? 300 : 0);
    }
    point(time);
  }

  function point(time) {
    line.hidden = time < part.from || time > part.to;
    line.style.left = `${share(time)}%`;
    whole.querySelector(".head-line").style.left = `${(time / film.seconds) * 100}%`;
  }

  /** Follows the pointer from a press to its release. */
  function drag(event, move, end) {
    event.preventDefault();
    detail.setPointerCapture(event.pointerId);
    const stop = (last) => {
      detail.removeEventListener("pointermove", move);
      detail.removeEventListener("pointerup", stop);
      detail.removeEventListener("pointercancel", stop);
      end(last);
    };
    detail.addEventListener("pointermove", move);
    detail.addEventListener("pointerup", stop);
    detail.addEventListener("pointercancel", stop);
  }

  detail.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const handle = event.target.closest("b");
    const item = event.target.closest(".lane i");
    const start = inPart(event);
    if (handle) {
      const side = handle.className;
      drag(event, (at) => act.move(item.dataset.id, side, inPart(at), false), (at) => act.move(item.dataset.id, side, inPart(at), true));
    } else if (item?.dataset.id) act.choose(item.dataset.id);
    else if (event.target.closest("[data-lane=marks]")) {
      drag(event, (at) => act.draw(Math.min(start, inPart(at)), Math.max(start, inPart(at)), false),
        (at) => (Math.abs(inPart(at) - start) < film.seconds / 1e5 + 0.05 ? act.seek(start) : act.draw(Math.min(start, inPart(at)), Math.max(start, inPart(at)), true)));
    } else act.seek(start);
  });
  whole.addEventListener("pointerdown", (event) => {
    const time = timeAt(event, whole.getBoundingClientRect(), 0, film.seconds);
    look(time);
    act.seek(Math.min(film.seconds, Math.max(0, time)));
  });
  detail.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey) return;
    event.preventDefault();
    const length = part.to - part.from;
    if (event.ctrlKey) look(inPart(event), length * (event.deltaY > 0 ? 1.25 : 0.8));
    else look((part.from + part.to) / 2 + Math.sign(event.deltaY || event.deltaX) * length * 0.15);
  }, { passive: false });

  return { node, part, look, draw, point, snapped, set film(next) { film = next; } };
}

/** What the model found in a film and nobody has marked yet: stretches that share most of their time with no mark. */
export function proposalsOf(film, marks) {
  if (!film.answer || film.answer.model !== state.taught?.model) return [];
  const left = new Set(film.aside);
  return film.answer.segments
    .filter((one) => one.score !== null)
    .map((one) => ({ ...one, id: `${one.start}-${one.end}-${one.label}`, label: called(one.label) }))
    .filter((one) => !left.has(one.id) && !marks.some((mark) => Math.min(mark.end, one.end) - Math.max(mark.start, one.start) > 0.5 * (one.end - one.start)));
}
