// A film's picture: played by the browser, or shown frame by frame where it cannot play it.

import { el } from "./dom.js";

const SETTLE = 60; // milliseconds without another step before a frame is asked for
const AGAIN = 2000; // milliseconds until a film is asked for again that the studio did not send
const INSIDE = 0.001; // seconds behind a frame's beginning: at the very border browsers may show the one before

/** Shows a film and keeps its time; `moved` is told whenever that changes. */
export function makeStage(film, moved) {
  const step = 1 / (film.rate || 25);
  const late = film.late; // a browser counts from the first sound or picture, kshot from the first picture
  const still = el("img", { class: "player", alt: "", hidden: true });
  const video = el("video", { class: "player", src: `/api/videos/${film.id}/file`, muted: true, playsinline: true, preload: "metadata", "aria-label": film.name });
  const lost = el("p", { class: "said bad", role: "status", hidden: true }, "This moment cannot be shown: the film's file may be gone, or be another. Remove the film and add it again.");
  const node = el("div", { class: "screen" }, video, still, lost);
  const stage = { node, video, step, time: 0, plays: false, moving: false, until: 0, timer: 0 };
  const seen = () => Math.max(0, video.currentTime - late);
  const show = (time) => { video.currentTime = time + late + Math.min(INSIDE, step / 4); };

  function told(time) {
    stage.time = time;
    moved();
  }

  function showStill() {
    stage.plays = false;
    still.hidden = false;
    video.remove();
    ask();
  }

  /** What the browser cannot play is shown as stills; what did not come, as the studio is away, is asked for again. */
  async function failed() {
    const there = await fetch(`/api/videos/${film.id}/file`, { headers: { range: "bytes=0-0" } }).then(() => true, () => false);
    if (!video.getAttribute("src")) return; // the film was closed
    stage.plays = false;
    if (there && video.error?.code > 2) return showStill();
    moved();
    stage.timer = setTimeout(() => video.load(), AGAIN);
  }

  /** Asks for the frame of the moment, one at a time: the newest wins. */
  function ask() {
    clearTimeout(stage.timer);
    stage.timer = setTimeout(() => {
      still.src = `/api/films/${film.id}/still?time=${(stage.time + Math.min(INSIDE, step / 4)).toFixed(4)}`;
      still.alt = `${film.name} at ${stage.time.toFixed(2)} seconds`;
    }, SETTLE);
  }

  /** The time is that of the frame on the screen, so it is read once a frame while the film plays. */
  function follow() {
    if (!stage.moving) return;
    if (stage.until && seen() >= stage.until) return video.pause(); // and that is told
    told(seen());
    requestAnimationFrame(follow);
  }

  video.addEventListener("loadedmetadata", () => { stage.plays = video.videoWidth > 0; if (!stage.plays) return showStill(); show(stage.time); moved(); if (stage.until) video.play(); });
  video.addEventListener("error", failed);
  still.addEventListener("error", () => { lost.hidden = false; still.alt = ""; });
  still.addEventListener("load", () => { lost.hidden = true; });
  video.addEventListener("play", () => { stage.moving = true; follow(); });
  for (const event of ["pause", "ended"]) video.addEventListener(event, () => { stage.moving = false; told(seen()); });
  if (!film.playable) showStill();

  stage.seek = (time) => {
    const at = Math.min(Math.max(0, time), Math.max(0, film.seconds - step / 2));
    stage.until = 0;
    if (stage.plays) show(at);
    told(at);
    if (!stage.plays && !still.hidden) ask();
  };
  /** Plays from one moment to another, once the film is there; where it cannot be played, the first is shown. */
  stage.playPart = (from, to) => {
    stage.seek(from);
    stage.until = to;
    if (stage.plays) video.play();
  };
  stage.still = () => !stage.plays; // there is nothing to play
  stage.toggle = () => {
    if (!stage.plays) return;
    stage.until = 0;
    if (video.paused) video.play(); else video.pause();
  };
  stage.stop = () => {
    stage.moving = false;
    clearTimeout(stage.timer);
    video.pause();
    video.removeAttribute("src");
    video.load();
  };
  return stage;
}
