// What the camera shows, recognised while it is on.

import { openCamera } from "./camera.js";
import { curves, legend } from "./charts.js";
import { $, el, keyed, setText } from "./dom.js";
import { UNKNOWN, swatch } from "./labels.js";
import { attempt, complain, thank } from "./messages.js";
import { request } from "./server.js";
import { state, render } from "./state.js";
import { percent, wait } from "./words.js";

export let live = null; // the camera, while it is on

const PAST = 12; // seconds of score curves beside the camera

$("try-camera").addEventListener("click", async () => {
  complain("");
  if (live) return stopLive();
  try {
    const stream = await openCamera();
    try {
      await startLive(stream, await request("POST", "/api/live"));
    } catch (error) {
      stream.getTracks().forEach((track) => track.stop());
      throw error;
    }
  } catch (error) {
    complain(error.message);
  }
});

async function startLive(stream, { id, side, interval, classes }) {
  const video = el("video", { muted: true, playsinline: true, "aria-label": "Camera" });
  video.muted = true;
  video.srcObject = stream;
  await video.play();
  const tag = el("div", { class: "tag" }, el("b", {}, "…"), el("span", { class: "num" }));
  const plot = el("div");
  const keep = el("div", { class: "chips" });
  const lag = el("p", { class: "hint" });
  const said = el("p", { class: "away", role: "status" });
  $("live").replaceChildren(el("div", { class: "view" }, video, tag), plot, legend(classes), said,
    el("div", { class: "fix" }, el("p", {}, "Wrong? One click makes the last seconds a clip of what they show:"), keep), lag);
  $("live").hidden = false;
  live = { id, stream, classes, tag, plot, keep, said, lag, times: [], proba: [] };
  render();
  const mine = live;
  const factor = side / Math.min(video.videoWidth, video.videoHeight);
  const canvas = el("canvas", { width: Math.round(video.videoWidth * factor), height: Math.round(video.videoHeight * factor) });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingQuality = "high";
  const start = performance.now();
  try {
    // The newest frame wins: one is sent when its time has come and the answer to the one before is there.
    for (let next = 0; live === mine; next = Math.max(next + 1, Math.ceil((performance.now() - start) / 1000 / interval))) {
      await wait(Math.max(0, start + next * interval * 1000 - performance.now()));
      if (live !== mine) return;
      const taken = performance.now();
      pen.drawImage(video, 0, 0, canvas.width, canvas.height);
      const rgba = pen.getImageData(0, 0, canvas.width, canvas.height).data;
      const rgb = new Uint8Array((rgba.length / 4) * 3);
      for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
        rgb[to] = rgba[from];
        rgb[to + 1] = rgba[from + 1];
        rgb[to + 2] = rgba[from + 2];
      }
      const query = new URLSearchParams({ id, t: ((taken - start) / 1000).toFixed(4), width: canvas.width, height: canvas.height });
      const seen = await request("POST", `/api/live/frame?${query}`, rgb, true);
      if (live === mine) showLive(mine, seen, performance.now() - taken);
    }
  } catch (error) {
    if (live === mine) {
      stopLive();
      complain(error.message);
    }
  }
}

function showLive(mine, seen, milliseconds) {
  const { tag, classes, times, proba } = mine;
  if (!seen.labels) {
    if (!times.length) setText(tag.firstElementChild, seen.ready < 1 ? `Watching … ${percent(seen.ready)}` : "Watching …");
    return;
  }
  times.push(...seen.times);
  proba.push(...seen.proba);
  while (times[0] < times.at(-1) - PAST) { times.shift(); proba.shift(); }
  const label = seen.labels.at(-1);
  const share = proba.at(-1)[classes.indexOf(label)];
  if (tag.dataset.label !== label) {
    tag.dataset.label = label;
    tag.replaceChildren(swatch(label, classes), el("b", {}, label), el("span", { class: "num" }));
    setText(mine.said, label);
  }
  setText(tag.lastElementChild, label === UNKNOWN ? "" : percent(share));
  mine.plot.replaceChildren(curves(classes, times, proba, times.at(-1) - PAST, times.at(-1)));
  setText(mine.lag, `Answered ${Math.round(milliseconds)} ms after the frame. The picture stays on this computer.`);
}

export function stopLive() {
  if (!live) return;
  const { id, stream } = live;
  live = null;
  stream.getTracks().forEach((track) => track.stop());
  $("live").hidden = true;
  $("live").replaceChildren();
  request("DELETE", `/api/live/${id}`).catch(() => {});
  render();
}

export function renderLive() {
  setText($("try-camera"), live ? "Stop the camera" : "Camera");
  if (!live) return;
  const { id } = live;
  const keepAs = async (label) => {
    const found = await attempt("POST", `/api/live/${id}/keep`, { label });
    if (found) thank(found, label);
  };
  keyed(live.keep, state.labels, (label) => label.id + label.name, (label) =>
    el("button", { type: "button", onclick: () => keepAs(label.id) }, swatch(label.name), label.name));
}
