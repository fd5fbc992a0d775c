// 3, Try: videos and the camera, and the answers about them.

import { answerCard } from "./answer.js";
import { $, el, keyed, setText } from "./dom.js";
import { dropOn } from "./drop.js";
import { arrived, openFilm } from "./films.js";
import { live, stopLive } from "./live.js";
import { attempt, complain } from "./messages.js";
import { state, render } from "./state.js";
import { upload } from "./upload.js";

let shown = ""; // id of the tried video whose answer is open
let sought = false; // whether the answer is to be brought into sight once it is there

export function renderTry() {
  const { taught, tried } = state;
  setText($("try-lead"), taught ? "Videos it was not taught." : "Once it has been taught.");
  for (const id of ["try-file", "try-camera", "try-unseen", "try-film"]) $(id).disabled = !taught;
  $("try-drawn").hidden = !(state.example && taught);
  const open = live ? [] : [tried.find((video) => video.id === shown) ?? tried[0]].filter(Boolean);
  const answer = $("answer");
  if (!taught) {
    answer.replaceChildren();
    delete answer.dataset.key;
  } else {
    const key = JSON.stringify([open, state.labels, taught.model]);
    if (answer.dataset.key !== key) {
      answer.dataset.key = key;
      answer.replaceChildren(...open.map(answerCard));
      if (sought) answer.scrollIntoView({ block: "nearest" });
      sought &&= open[0]?.id !== shown || open[0].waiting;
    }
  }
  const others = tried.filter((video) => !open.includes(video));
  $("earlier").hidden = !(taught && others.length);
  keyed($("earlier").querySelector("ul"), others, (video) => video.id,
    (video) => el("li", {}, el("button", { type: "button", onclick: () => { stopLive(); shown = video.id; complain(""); render(); } })),
    (node, video) => {
      const label = video.answer?.segments?.length === 1 ? video.answer.segments[0].label : "";
      setText(node.firstElementChild, video.name + (label ? `: ${label}` : ""));
    });
}

$("try-file").addEventListener("click", () => $("try-input").click());

$("try-input").addEventListener("change", () => { tryFiles([...$("try-input").files]); $("try-input").value = ""; });

dropOn($("try-drop"), (files) => {
  if (state.taught) tryFiles(files);
  else complain("nothing has been taught yet: press Teach first");
});

async function tryFiles([file]) {
  complain("");
  stopLive();
  try {
    if (!file) return;
    const made = await upload(file);
    if (await arrived(made)) openFilm(made.id); // it is long: what happens in it is marked there
    else show(made.id);
  } catch (error) {
    complain(error.message);
  }
}

for (const [id, drawn] of [["try-unseen", false], ["try-film", true]])
  $(id).addEventListener("click", async () => {
    complain("");
    stopLive();
    $(id).disabled = true;
    const made = await attempt("POST", "/api/unseen", { film: drawn });
    $(id).disabled = false;
    if (made) show(made.id);
  });

/** Opens the answer about a video, and brings it into sight. */
function show(id) {
  shown = id;
  sought = true;
  render();
}

