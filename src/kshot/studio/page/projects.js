// The projects: which one is open, opening another, and a new one.

import { $, setText } from "./dom.js";
import { askName, menu } from "./menu.js";
import { announce, attempt } from "./messages.js";
import { state } from "./state.js";

const OPENED = "kshot-opened"; // noted where the page begins anew because another project was opened

const nameOf = (folder) => folder.split(/[\\/]/).pop();
let shown = ""; // folder of the project that the page shows

export function renderProject() {
  const { folder } = state;
  if (shown && shown !== folder) { // opened here or in another tab: nothing on the page is of this one
    sessionStorage.setItem(OPENED, folder);
    return location.reload();
  }
  if (!shown && sessionStorage.getItem(OPENED) === folder) {
    $("project").focus();
    announce(`The project ${nameOf(folder)} is open.`);
  }
  sessionStorage.removeItem(OPENED);
  shown = folder;
  setText($("project").firstElementChild, nameOf(folder));
}

function open(name, fresh = false) {
  announce(`Opening ${name} …`);
  return attempt("POST", "/api/projects", { name, new: fresh });
}

$("project").addEventListener("click", async () => {
  const button = $("project");
  const found = await attempt("GET", "/api/projects");
  if (!found) return;
  const others = found.filter((one) => !one.open).map((one) => [`${one.name}: ${one.about}`, () => open(one.name)]);
  const fresh = ["A new project …", () => askName(button, "A new project", "name of the new project", (name) => open(name, true))];
  menu(button, others.length ? "Open another project" : "There is no other project yet", [...others, ...(others.length ? [null] : []), fresh]);
});
