// What has come out is said aloud, for those who do not see it appear.

import { UNKNOWN } from "./labels.js";
import { announce } from "./messages.js";
import { inWords } from "./report.js";
import { state } from "./state.js";
import { sentence, percent } from "./words.js";

const SAID = 5; // segments of a film that are named

let taught = null; // when what is known was taught
let answers = null; // id of a tried video -> what was said of it; null before the first state

export function renderNews() {
  const before = answers;
  const asked = [...state.tried, ...state.films];
  answers = new Map(asked.map((video) => [video.id, answered(video)]));
  const news = asked.map((video) => [answers.get(video.id), before?.get(video.id)]).filter(([now, old]) => now && now !== old);
  const words = news.map(([now]) => now);
  if (state.taught && state.taught.at !== taught) words.unshift(`Taught. ${inWords(state.taught)}`);
  taught = state.taught?.at ?? null;
  if (before && words.length) announce(words.join(" "));
}

/** What the model says of a video in one sentence; "" while nothing is known. */
function answered({ name, answer, error, waiting }) {
  if (waiting) return "";
  if (error) return `${name}: ${sentence(error)}.`;
  if (!answer || answer.model !== state.taught?.model) return "";
  const parts = answer.segments;
  if (answer.kind === "clip") {
    const [{ label, score }] = parts;
    return `${name}: ${label}, ${label === UNKNOWN ? "like none of the actions" : percent(score)}.`;
  }
  const named = parts.slice(0, SAID).map((part) => `${part.label} from ${part.start.toFixed(1)} to ${part.end.toFixed(1)} seconds`);
  return `${name}: ${[...named, parts.length > SAID ? `and ${parts.length - SAID} more` : ""].filter(Boolean).join(", ")}.`;
}
