// The studio's page. What it shows is the state that the server sends; what a person does is sent there.

import { renderChoices } from "./choices.js";
import { $, setText } from "./dom.js";
import { renderFilms } from "./films.js";
import { renderHistory } from "./history.js";
import { renderLive } from "./live.js";
import { renderMarking } from "./marking.js";
import { renderNews } from "./news.js";
import { renderProject } from "./projects.js";
import { renderShow } from "./show.js";
import { state, shows, replaceState } from "./state.js";
import { renderTeach, renderProgress } from "./teach.js";
import { renderTry } from "./try.js";
import { wait } from "./words.js";

function renderFrame() {
  document.querySelector("main").removeAttribute("aria-busy");
  setText($("status"), state.drawing ? "Drawing the example …" : state.teaching?.status === "running" ? "Teaching …" : "Everything is saved");
  setText($("where"), `This project is kept in ${state.folder}. Nothing leaves this computer.`);
}

/** Listens to the server, for as long as the page is open: also to one that was started again. */
function follow() {
  const events = new EventSource("/api/events");
  events.addEventListener("state", (event) => {
    lost(false);
    replaceState(JSON.parse(event.data));
  });
  events.addEventListener("progress", (event) => renderProgress(JSON.parse(event.data)));
  events.addEventListener("open", () => lost(false));
  events.addEventListener("error", async () => {
    const refused = events.readyState === EventSource.CLOSED; // else the browser tries again by itself
    lost(true, refused);
    if (!refused) return;
    await wait(1000);
    follow();
  });
}

/** Whether the server is there, and if it refuses: it gives each start, and each browser, a key of its own. */
function lost(away, refused = false) {
  $("lost").hidden = !away;
  if (away) setText($("status"), "Not connected");
  $("lost-away").hidden = refused;
  $("lost-shut").hidden = !refused;
}

shows(renderProject, renderShow, renderFilms, renderMarking, renderTeach, renderChoices, renderTry, renderLive, renderHistory, renderNews, renderFrame);
follow();

if (location.search) history.replaceState(null, "", "/"); // the link is used up; it stays out of the history, too
