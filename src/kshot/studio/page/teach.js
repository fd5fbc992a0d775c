// 2, Teach: training, its progress, and what it led to.

import { $, setText } from "./dom.js";
import { attempt } from "./messages.js";
import { report } from "./report.js";
import { state } from "./state.js";
import { sentence, plural } from "./words.js";

export function renderTeach() {
  const { teaching, taught, clips, labels } = state;
  const running = teaching?.status === "running";
  const ready = labels.filter((label) => label.before || clips.some((clip) => clip.label === label.id)).length;
  setText($("teach-lead"), `${plural(labels.length, "action")}, ${plural(clips.length, "clip")}`);
  const go = $("teach-go");
  go.disabled = running || state.drawing;
  go.classList.toggle("primary", !taught || taught.stale);
  setText(go, running ? "Teaching …" : !taught ? "Teach" : taught.stale ? "Teach again" : "Taught. Teach again");
  $("teach-stop").hidden = !running;
  $("teach-progress").hidden = !running;
  const said = {
    failed: () => sentence(teaching.error),
    cancelled: () => "Cancelled. What was taught before stays.",
    interrupted: () => "The studio was closed while it was being taught. Press Teach to start again.",
  }[teaching?.status]?.() ?? "";
  const hint = !said && !running && !taught && ready < 2 ? "It takes two actions with clips to tell apart." : "";
  const changed = said || running || !taught?.stale ? ""
    : taught.changed ? `${sentence(taught.changed)}: teach again.` : "The clips have changed since: teach again to use them.";
  const node = $("teach-said");
  node.hidden = !(said || hint || changed);
  node.classList.toggle("bad", teaching?.status === "failed");
  setText(node, said || hint || changed);
  $("report").hidden = !taught;
  $("report").classList.toggle("old", running);
  const key = taught ? JSON.stringify([taught.report, labels]) : "";
  if ($("report").dataset.key !== key) {
    $("report").dataset.key = key;
    const open = $("report").querySelector(".more")?.open;
    $("report").replaceChildren(...(taught ? report(taught, open) : []));
  }
  $("keep").hidden = !taught;
}

$("teach-go").addEventListener("click", () => attempt("POST", "/api/teach"));

$("teach-stop").addEventListener("click", () => attempt("DELETE", "/api/teach"));

export function renderProgress(progress) {
  const share = progress && progress.total ? Math.min(1, progress.done / progress.total) : 0;
  const bar = $("teach-bar");
  bar.setAttribute("aria-valuenow", String(Math.round(share * 100)));
  bar.firstElementChild.style.width = `${share * 100}%`;
  setText($("teach-stage"), progress ? sentence(progress.title) + (progress.note ? `: ${progress.note}` : "") : "Getting ready");
  setText($("teach-count"), progress && progress.unit ? `${Math.round(progress.done)} of ${Math.round(progress.total)} ${progress.unit}` : "");
}
