// A film's picture: played by the browser, or shown frame by frame where it cannot play it.

import { el } from "./dom.js";

const SETTLE = 60; // milliseconds without another step before a frame is asked for

/** Shows a film and keeps its time; `moved` is told whenever that changes. */
export function makeStage(film, moved) {
  const step = 1 / (film.rate || 25);
  const still = el("img", { class: "player", alt: "", hidden: true });
  const video = el("video", { class: "player", src: `/api/videos/${film.id}/file`, muted: true, playsinline: true, preload: "metadata", "aria-label": film.name });
  const node = el("div", { class: "screen" }, video, still);
  const stage = { node, video, step, time: 0, plays: false, moving: false, until: 0, timer: 0 };

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

  /** Asks for the frame of the moment, one at a time: the newest wins. */
  function ask() {
    clearTimeout(stage.timer);
    stage.timer = setTimeout(() => {
      still.src = `/api/films/${film.id}/still?time=${stage.time.toFixed(3)}`;
      still.alt = `${film.name} at ${stage.time.toFixed(2)} seconds`;
    }, SETTLE);
  }

  /** The time is that of the frame on the screen, so it is read once a frame while the film plays. */
  function follow() {
    if (!stage.moving) return;
    if (stage.until && video.currentTime >= stage.until) return video.pause(); // and that is told
    told(video.currentTime);
    requestAnimationFrame(follow);
  }

  video.addEventListener("loadedmetadata", () => { stage.plays = video.videoWidth > 0; if (!stage.plays) return showStill(); video.currentTime = stage.time; if (stage.until) video.play(); });
  video.addEventListener("error", showStill, { once: true });
  video.addEventListener("play", () => { stage.moving = true; follow(); });
  for (const event of ["pause", "ended"]) video.addEventListener(event, () => { stage.moving = false; told(video.currentTime); });
  if (!film.playable) showStill();

  stage.seek = (time) => {
    const at = Math.min(Math.max(0, time), Math.max(0, film.seconds - step / 2));
    stage.until = 0;
    if (stage.plays) video.currentTime = at;
    told(at);
    if (!stage.plays && !still.hidden) ask();
  };
  /** Plays from one moment to another, once the film is there; where it cannot be played, the first is shown. */
  stage.playPart = (from, to) => {
    stage.seek(from);
    stage.until = to;
    if (stage.plays) video.play();
  };
  stage.still = () => !still.hidden; // there is nothing to play
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
