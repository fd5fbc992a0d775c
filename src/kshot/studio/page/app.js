// The studio's page. What it shows is the state that the server sends; what a person does is sent there.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const UNKNOWN = "unknown";
const COLOURS = 8;

let state = null; // what the server said last
let live = null; // the camera, while it is on
let numbered = 0; // keys given out so far
let shown = ""; // id of the tried video whose answer is open
const faults = new Map(); // action id -> [{name, text}] of files that were refused
const sending = new Map(); // action id -> [{key, name}] of files on their way

// ---------------------------------------------------------------- small tools

/** A new element; `on...` properties are listeners, the others attributes. */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** Brings the children of `parent` in line with `items`, keeping the element of each key and so its focus. */
function keyed(parent, items, key, make, update = () => {}) {
  const have = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    let child = have.get(String(key(item)));
    if (child) have.delete(String(key(item)));
    else {
      child = make(item);
      child.dataset.key = key(item);
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update(child, item);
  }
  for (const child of have.values()) child.remove();
}

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Asks the server; its one-sentence errors become errors here. */
async function ask(method, path, body, raw = false) {
  const options = { method };
  if (body !== undefined) {
    options.body = raw ? body : JSON.stringify(body);
    if (!raw) options.headers = { "content-type": "application/json" };
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("the studio does not answer: start it again with `kshot serve`");
  }
  const text = await answer.text();
  const value = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new Error(value?.error ?? `the studio answered ${answer.status}`);
  return value;
}

/** Asks, and shows an error at the bottom of the page; null if there was one. */
async function tell(method, path, body) {
  try {
    return (await ask(method, path, body)) ?? true;
  } catch (error) {
    toast(sentence(error.message));
    return null;
  }
}

let toastTimer = 0;
function toast(text, undo = false) {
  const node = $("toast");
  const [words, button] = node.children;
  set(words, text);
  button.hidden = !undo;
  node.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { node.hidden = true; }, undo ? 12000 : 8000);
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const percent = (share) => `${Math.round(share * 100)}\u00a0%`;
const clock = (s) => (s < 60 ? `${s.toFixed(1)} s` : `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`);
const size = (bytes) => `${Math.round(bytes / 1e6).toLocaleString("en")} MB`;
const labelOf = (name) => state.labels.find((label) => label.name === name);
const colour = (node, number) => { node.style.setProperty("--c", `var(--c${number % COLOURS})`); return node; };

/** The colour of a class of the model; classes that are no action any more count on from behind. */
function classColour(name, classes) {
  const label = labelOf(name);
  return label ? label.colour : COLOURS - 1 - (classes.indexOf(name) % COLOURS);
}

function swatch(name, classes = []) {
  const made = el("span", { class: name === UNKNOWN ? "swatch unknown" : "swatch", "aria-hidden": "true" });
  return name === UNKNOWN ? made : colour(made, classColour(name, classes));
}

function film(id, frames, alt) {
  const picture = el("img", { src: `/api/videos/${id}/strip?frames=${frames}`, alt, loading: "lazy", decoding: "async" });
  return el("span", { class: frames > 8 ? "film long" : "film" }, picture);
}

// ---------------------------------------------------------------- the menu

/** Opens a menu of choices below a button. choices: [text, action] or null for a line; the last may be a form. */
function menu(anchor, heading, choices) {
  popup(anchor, el("p", {}, heading), ...choices.map((choice) => {
    if (choice === null) return el("hr");
    const [text, action, mark] = choice;
    return el("button", { type: "button", onclick: () => { $("menu").hidePopover(); action(); } }, mark ?? null, text);
  }));
}

function popup(anchor, ...content) {
  const node = $("menu");
  node.replaceChildren(...content);
  node.showPopover();
  const place = anchor.getBoundingClientRect();
  const left = Math.max(8, Math.min(place.right - node.offsetWidth, innerWidth - node.offsetWidth - 8));
  const below = place.bottom + 4 + node.offsetHeight < innerHeight;
  node.style.left = `${left}px`;
  node.style.top = `${below ? place.bottom + 4 : Math.max(8, place.top - node.offsetHeight - 4)}px`;
  node.querySelector("input, button")?.focus();
  node.ontoggle = (event) => {
    if (event.newState === "closed" && anchor.isConnected && node.contains(document.activeElement)) anchor.focus();
  };
}

$("menu").addEventListener("keydown", (event) => {
  const buttons = [...$("menu").querySelectorAll("button")];
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length].focus();
});

/** Choices of an action: those there are, and a new one. */
function labelChoices(anchor, pick, without = "") {
  const choices = state.labels
    .filter((label) => label.id !== without)
    .map((label) => [label.name, () => pick(label.id), swatch(label.name)]);
  return [...choices, null, ["A new action …", () => newLabel(anchor, pick)]];
}

/** Asks for the name of a new action, and picks it. */
function newLabel(anchor, pick) {
  const input = el("input", { "aria-label": "Name of the new action", placeholder: "name of the new action", maxlength: "60", required: true });
  popup(anchor, el("form", { autocomplete: "off", onsubmit: async (event) => {
    event.preventDefault();
    const label = await tell("POST", "/api/labels", { name: input.value });
    if (!label) return;
    $("menu").hidePopover();
    state.labels.some((one) => one.id === label.id) || state.labels.push(label);
    pick(label.id);
  } }, input, el("button", { type: "submit" }, "Add")));
}

// ---------------------------------------------------------------- 1: show

function renderShow() {
  const none = state.labels.length === 0;
  $("welcome").hidden = !state.example;
  $("empty").hidden = !none || state.drawing;
  $("example").hidden = state.drawing;
  keyed($("actions"), state.labels, (label) => label.id, makeAction, updateAction);
}

function makeAction(label) {
  const id = label.id;
  const name = el("input", {
    value: label.name, maxlength: "60", "aria-label": "Name of the action", spellcheck: "false",
    onkeydown: (event) => {
      if (event.key === "Enter") name.blur();
      if (event.key === "Escape") { name.value = name.dataset.saved; name.blur(); }
    },
    onblur: async () => {
      const same = name.value.trim() === name.dataset.saved;
      if (same || !(await tell("PATCH", `/api/labels/${id}`, { name: name.value }))) name.value = name.dataset.saved;
    },
  });
  const input = el("input", {
    type: "file", multiple: true, accept: "video/*,.mkv,.avi,.flv,.wmv,.ts", hidden: true, tabindex: "-1",
    "aria-label": "Clips to add", onchange: () => { send([...input.files], id); input.value = ""; },
  });
  const card = el("li", { class: "action" },
    el("div", { class: "title" }, el("span", { class: "swatch", "aria-hidden": "true" }), name, el("span", { class: "count" })),
    el("ul", { class: "clips plain" }),
    el("p", { class: "none" }),
    el("div", { class: "faults", role: "alert" }),
    el("div", { class: "tools" },
      el("button", { type: "button", class: "pick", onclick: () => input.click() }, "Add clips"),
      el("button", { type: "button", class: "record", onclick: () => openRecorder(id) }, "Record"),
      input,
      el("button", { type: "button", class: "ghost drop-action", onclick: () => removeLabel(id) }, "Remove")));
  dropOn(card, (files) => send(files, id));
  return card;
}

const nameOf = (id) => state.labels.find((label) => label.id === id)?.name;

function updateAction(card, label) {
  const clips = state.clips.filter((clip) => clip.label === label.id);
  const name = card.querySelector(".title input");
  if (name.dataset.saved !== label.name) {
    if (document.activeElement !== name) name.value = label.name;
    name.dataset.saved = label.name;
  }
  colour(card, label.colour);
  const coming = sending.get(label.id) ?? [];
  const before = label.before ? `${label.before} taught before` : "";
  set(card.querySelector(".count"), [before, coming.length ? `adding ${coming.length} …` : plural(clips.length, "clip")].filter(Boolean).join(", "));
  for (const [part, verb] of [["pick", "Add clips to"], ["record", "Record"], ["drop-action", "Remove the action"]])
    card.querySelector(`.${part}`).setAttribute("aria-label", `${verb} ${label.name}`);
  const hint = card.querySelector(".none");
  hint.hidden = clips.length + coming.length > 0;
  set(hint, label.before ? "Drop videos here to teach it more." : "No clips yet: drop videos here, or record some.");
  const rows = [...clips, ...coming];
  keyed(card.querySelector(".clips"), rows, (row) => row.id ?? row.key, (row) => (row.id ? makeClip(row) : makeComing(row)),
    (node, row) => row.id && updateClip(node, row));
  keyed(card.querySelector(".faults"), faults.get(label.id) ?? [], (fault) => fault.key, (fault) =>
    el("div", { class: "fault" }, el("span", {}, sentence(fault.text)),
      el("button", { type: "button", class: "icon", "aria-label": "Dismiss", onclick: () => {
        faults.set(label.id, faults.get(label.id).filter((other) => other !== fault));
        render();
      } }, "×")));
}

/** Holds the place of a clip that is on its way. */
function makeComing(file) {
  return el("li", { class: "coming" }, el("span", { class: "film" }), el("div", { class: "about" }, el("b", {}, file.name), el("span", {}, "adding …")));
}

function makeClip(clip) {
  return el("li", { class: "clip" },
    film(clip.id, 8, ""),
    el("div", { class: "about" }, el("b"), el("span"), el("em", { hidden: true })),
    el("button", { type: "button", class: "icon more", onclick: (event) => clipMenu(event.currentTarget, clip.id) }, "⋯"));
}

function updateClip(row, clip) {
  const name = nameOf(clip.label);
  const [title, length, doubt] = row.querySelector(".about").children;
  row.querySelector("img").alt = `Eight frames of ${clip.name}`;
  set(title, clip.name);
  title.title = clip.name;
  set(length, clock(clip.seconds) + ({ correction: ", corrected", camera: ", recorded" }[clip.source] ?? ""));
  const suspect = state.taught?.report.suspects?.find((one) => one.clip === clip.id && one.label === name);
  doubt.hidden = !suspect;
  length.hidden = Boolean(suspect);
  set(doubt, suspect ? (suspect.reason === "duplicate" ? "much like another" : `${suspect.looks_like}?`) : "");
  row.querySelector(".more").setAttribute("aria-label", `Change ${clip.name} of ${name}`);
}

function clipMenu(anchor, id) {
  const clip = state.clips.find((one) => one.id === id);
  menu(anchor, "It shows", [
    ...labelChoices(anchor, (label) => tell("PATCH", `/api/videos/${id}`, { label }), clip.label),
    null,
    ["Remove the clip", () => remove(`/api/videos/${id}`)],
  ]);
}

async function remove(path) {
  try {
    await ask("DELETE", path);
    toast("Removed.", true);
  } catch (error) {
    toast(sentence(error.message));
  }
}

function removeLabel(id) {
  const card = document.querySelector(`[data-key="${id}"]`);
  (card.nextElementSibling ?? card.previousElementSibling)?.querySelector(".title input")?.focus();
  remove(`/api/labels/${id}`);
}

$("toast").lastElementChild.addEventListener("click", () => { $("toast").hidden = true; tell("POST", "/api/undo"); });

$("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = $("add-name");
  if (await tell("POST", "/api/labels", { name: input.value })) input.value = "";
});

$("own").addEventListener("click", async () => {
  if (!(await tell("POST", "/api/clear"))) return;
  toast("The example is put away.", true);
  $("add-name").focus();
});
$("example").addEventListener("click", () => tell("POST", "/api/example"));

/** Sends files, one after the other, as clips of an action, or to be recognised if there is none; a recording was to
    last some seconds. */
async function send(files, label = null, source = "file", seconds = 0) {
  const waiting = files.map((file) => ({ key: `coming-${++numbered}`, name: file.name }));
  if (label !== null) {
    if (!seconds) faults.delete(label); // takes come one by one
    sending.set(label, [...(sending.get(label) ?? []), ...waiting]);
    render();
  }
  for (const [at, file] of files.entries()) {
    let made = null;
    try {
      if (file.size > state.limits.bytes)
        throw new Error(`expected a file of at most ${size(state.limits.bytes)}: cut the video into shorter ones`);
      const query = new URLSearchParams({ name: file.name, source });
      if (label !== null) query.set("label", label);
      made = await ask("POST", `/api/videos?${query}`, file, true);
      if (label === null) shown = made.id;
    } catch (error) {
      const text = error.message.includes(file.name) ? error.message : `${file.name}: ${error.message}`;
      if (label === null) complain(text);
      else addFault(label, text);
    }
    if (label !== null) {
      sending.set(label, sending.get(label).filter((one) => one !== waiting[at]));
      await fresh(made?.version); // its row takes the place in one go
      const length = state.clips.find((one) => one.id === made?.id)?.seconds ?? Infinity;
      if (length < 0.7 * seconds) {
        addFault(label, `${file.name} came out ${length.toFixed(1)} s long, not ${seconds} s: the camera or this computer was too slow. Remove it and record once more.`);
      }
      render();
    }
  }
}

function addFault(label, text) {
  faults.set(label, [...(faults.get(label) ?? []), { key: `fault-${++numbered}`, text }]);
}

/** Waits for the state to be of a version, at least. */
async function fresh(version = 0) {
  for (let tries = 0; state.version < version && tries < 40; tries += 1) await wait(25);
}

/** Lets files, and folders of them, be dropped on an element. */
function dropOn(node, take, takeFolders = null) {
  node.addEventListener("dragover", (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    node.classList.add("over");
  });
  node.addEventListener("dragleave", (event) => { if (!node.contains(event.relatedTarget)) node.classList.remove("over"); });
  node.addEventListener("drop", async (event) => {
    event.preventDefault();
    node.classList.remove("over");
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const plain = [...event.dataTransfer.files];
    const folders = entries.filter((entry) => entry.isDirectory);
    if (folders.length && takeFolders) return takeFolders(folders);
    const inside = (await Promise.all(folders.map(filesOf))).flat();
    return take([...plain.filter((_, at) => !entries[at]?.isDirectory), ...inside]);
  });
}

async function filesOf(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    const part = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!part.length) break;
    found.push(...part);
  }
  const files = found.filter((entry) => entry.isFile && !entry.name.startsWith("."));
  return Promise.all(files.map((entry) => new Promise((done, fail) => entry.file(done, fail))));
}

dropOn($("add"), () => toast("Drop a folder here, or files on an action's card."), async (folders) => {
  for (const folder of folders) {
    const there = labelOf(folder.name) ?? (await tell("POST", "/api/labels", { name: folder.name }));
    if (there) await send(await filesOf(folder), there.id);
  }
});
// A video that misses its target must not take the page's place.
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());

// ---------------------------------------------------------------- 2: teach

function renderTeach() {
  const { teaching, taught, clips, labels } = state;
  const running = teaching?.status === "running";
  const ready = labels.filter((label) => label.before || clips.some((clip) => clip.label === label.id)).length;
  set($("teach-lead"), `${plural(labels.length, "action")}, ${plural(clips.length, "clip")}`);
  const go = $("teach-go");
  go.disabled = running || state.drawing;
  go.classList.toggle("primary", !taught || taught.stale);
  set(go, running ? "Teaching …" : !taught ? "Teach" : taught.stale ? "Teach again" : "Taught. Teach again");
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
  set(node, said || hint || changed);
  $("report").hidden = !taught;
  $("report").classList.toggle("old", running);
  const key = taught ? JSON.stringify([taught.report, labels]) : "";
  if ($("report").dataset.key !== key) {
    $("report").dataset.key = key;
    $("report").replaceChildren(...(taught ? report(taught) : []));
  }
  $("keep").hidden = !taught;
}

$("teach-go").addEventListener("click", async () => {
  if (await tell("POST", "/api/teach")) $("teach-stop").focus();
});
$("teach-stop").addEventListener("click", () => tell("DELETE", "/api/teach"));

function renderProgress(progress) {
  const share = progress && progress.total ? Math.min(1, progress.done / progress.total) : 0;
  const bar = $("teach-bar");
  bar.setAttribute("aria-valuenow", String(Math.round(share * 100)));
  bar.firstElementChild.style.width = `${share * 100}%`;
  set($("teach-stage"), progress ? sentence(progress.title) + (progress.note ? `: ${progress.note}` : "") : "Getting ready");
  set($("teach-count"), progress && progress.unit ? `${Math.round(progress.done)} of ${Math.round(progress.total)} ${progress.unit}` : "");
}

/** Leads to a clip of this project; of a model taught elsewhere there is but its name. */
function clipButton(id) {
  const clip = state.clips.find((one) => one.id === id);
  if (!clip) return el("span", {}, /^[0-9a-f]{12}$/.test(id) ? "a clip that is gone" : id);
  return el("button", { type: "button", onclick: () => {
    const row = document.querySelector(`.clip[data-key="${id}"]`);
    row?.scrollIntoView({ block: "center", behavior: "smooth" });
    row?.querySelector("button").focus({ preventScroll: true });
  } }, clip.name);
}

function bars(rows) {
  const node = el("div", { class: "bars" });
  for (const { name, share, text, number, hint } of rows) {
    const fill = el("i");
    fill.style.width = `${share * 100}%`;
    const bar = el("span", { class: "bar", "aria-hidden": "true" }, fill);
    if (number !== undefined) colour(bar, number);
    node.append(el("span", { class: "name" }, name), bar, el("span", { class: "num" }, text));
    if (hint) node.append(el("span", { class: "hint" }, hint));
  }
  return node;
}

const METHODS = {
  text: "its name alone", prototype: "mean of the clips", fusion: "mean and name", "linear-probe": "linear probe",
  otam: "order in time (OTAM)", partial: "fine-tuning the last layer",
};

/** What to expect, in plain words. */
function report(taught) {
  const said = taught.report;
  const known = (one) => one.accuracy !== null && one.accuracy !== undefined;
  const words = el("ul", { class: "words" });
  const tell = (...parts) => words.append(el("li", {}, ...parts));
  for (const one of said.suspects ?? []) {
    if (one.reason === "duplicate") tell(clipButton(one.clip), " is nearly the same as ", clipButton(one.other),
      one.looks_like === one.label ? ": another one would teach more." : ` of “${one.looks_like}”: is one of them in the wrong place?`);
    else tell(clipButton(one.clip), ` is called “${one.label}” but looks like “${one.looks_like}”: is it in the right place?`);
  }
  for (const [clip, why] of Object.entries(said.unreadable ?? {})) tell(clipButton(clip), ` was left out: ${why}`);
  for (const one of said.classes ?? []) if (one.advice && !known(one)) tell(`${sentence(one.label)}: ${one.advice}.`);
  for (const note of said.notes ?? []) if (!note.endsWith("see unreadable.")) tell(note);
  const { threshold, auroc, refused } = said.unknown ?? {};
  if (typeof threshold === "number") tell(`What it was not taught should be “unknown”. It is expected to tell taught from untaught ` +
    `in ${Math.round(auroc * 100)} of 100 pairs of clips, and to refuse ${percent(refused)} of the taught ones.`);
  const rows = (said.classes ?? []).filter(known).map((one) => ({
    name: one.label, share: one.accuracy, text: percent(one.accuracy), number: classColour(one.label, taught.classes),
    hint: mistaken((said.confusions ?? []).filter((other) => other.label === one.label)),
  }));
  return [...expected(said), ...(rows.length ? [bars(rows)] : []), ...(words.children.length ? [words] : []), ...found(said)];
}

/** What the clips of one action were taken for. */
function mistaken(confusions) {
  const parts = confusions.map((one) => `${one.count} ${one.taken_for === UNKNOWN ? "not recognised" : `taken for “${one.taken_for}”`}`);
  return parts.length ? `Of ${plural(confusions[0].of, "clip")}: ${parts.join(", ")}.` : "";
}

/** The share of new clips that should be recognised, and how sure that is; or why nobody knows. */
function expected({ accuracy, why }) {
  if (!accuracy) return [el("h3", {}, "It can be used, but nobody knows how good it is"), el("p", { class: "hint" }, sentence(why ?? ""))];
  const range = el("div", { class: "range", "aria-hidden": "true" }, el("i"), el("b"));
  range.children[0].style.left = `${accuracy.low * 100}%`;
  range.children[0].style.width = `${(accuracy.high - accuracy.low) * 100}%`;
  range.children[1].style.left = `${accuracy.value * 100}%`;
  return [
    el("h3", { class: "away" }, "What to expect"),
    el("div", { class: "figure" }, el("b", {}, percent(accuracy.value)),
      el("span", {}, `of new clips like these should be recognised; it may be ${percent(accuracy.low)} to ${percent(accuracy.high)}`)),
    range,
    el("div", { class: "ends", "aria-hidden": "true" }, el("span", {}, "0"), el("span", {}, "100\u00a0%")),
  ];
}

/** How a report was found, for those who want to know. */
function found({ accuracy, methods = [], method, unknown }) {
  const tried = methods.filter((one) => typeof one.accuracy === "number");
  const parts = [
    accuracy?.how ? el("p", { class: "hint" }, `${sentence(accuracy.how)}.`) : null,
    tried.length ? table(["method", "right", "interval"], tried.map((one) => ({
      cells: [METHODS[one.name] ?? one.name, percent(one.accuracy), `${percent(one.low)} to ${percent(one.high)}`], chosen: one.name === method,
    }))) : null,
    typeof unknown?.fpr95 === "number" ? el("p", { class: "hint" }, `Where 95\u00a0% of the taught clips are let through, ${percent(unknown.fpr95)} of untaught ones are, too.`) : null,
  ].filter(Boolean);
  return parts.length ? [el("details", {}, el("summary", {}, "How this was found"), ...parts)] : [];
}

function table(heads, rows) {
  return el("table", {},
    el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, ...rows.map(({ cells, chosen }) => el("tr", { class: chosen ? "chosen" : null },
      el("th", { scope: "row" }, cells[0] + (chosen ? " (chosen)" : "")), ...cells.slice(1).map((cell) => el("td", {}, cell))))));
}

// ---------------------------------------------------------------- 3: try

function complain(text) {
  $("try-said").hidden = !text;
  set($("try-said"), text ? sentence(text) : "");
}

function renderTry() {
  const { taught, tried } = state;
  set($("try-lead"), taught ? "Videos it was not taught." : "Once it has been taught.");
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
      answer.replaceChildren(...open.map(result));
    }
  }
  const others = tried.filter((video) => !open.includes(video));
  $("earlier").hidden = !(taught && others.length);
  keyed($("earlier").querySelector("ul"), others, (video) => video.id,
    (video) => el("li", {}, el("button", { type: "button", onclick: () => { stopLive(); shown = video.id; complain(""); render(); } })),
    (node, video) => {
      const label = video.answer?.segments?.length === 1 ? video.answer.segments[0].label : "";
      set(node.firstElementChild, video.name + (label ? `: ${label}` : ""));
    });
}

/** The card of one tried video. */
function result(video) {
  const head = el("div", { class: "named" }, el("b", {}, video.name),
    el("button", { type: "button", class: "ghost", "aria-label": `Put ${video.name} away`, onclick: () => remove(`/api/videos/${video.id}`) }, "Put away"));
  const { answer, error, waiting } = video;
  if (waiting) return el("article", {}, head, film(video.id, 8, ""), el("p", { class: "wait" }, "Looking at it …"));
  if (error || answer?.model !== state.taught.model) {
    const why = error ? el("p", { class: "said bad" }, sentence(error)) : el("p", { class: "said" }, "There is no answer yet: the studio was closed before.");
    return el("article", {}, head, error ? null : film(video.id, 8, ""), why,
      el("button", { type: "button", onclick: () => tell("POST", `/api/videos/${video.id}/again`) }, "Try again"));
  }
  return answer.kind === "clip" ? whole(video, head) : stretches(video, head);
}

function whole(video, head) {
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
    await ask("PATCH", `/api/videos/${id}`, { label, ...span });
    toast(`Thank you: it is a clip of “${nameOf(label)}” now. Teach again to use it.`);
  } catch (error) {
    toast(sentence(error.message));
  }
}

/** A long video: what it shows when. */
function stretches(video, head) {
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
      type: "button", onclick: ({ currentTarget }) => menu(currentTarget, "Wrong? These seconds really show", labelChoices(currentTarget, (label) =>
        correct(video.id, label, { start: part.start, end: part.end }), labelOf(part.label)?.id)),
    }, swatch(part.label, answer.classes), el("span", { class: "when" }, `${part.start.toFixed(1)} to ${part.end.toFixed(1)} s`), part.label,
      el("span", { class: "num" }, part.score === null ? "" : percent(part.score)), el("span", { class: "ask" }, "Wrong?")))));
  const player = el("video", { class: "player", src: `/api/videos/${video.id}/file`, controls: true, muted: true, playsinline: true, preload: "metadata", "aria-label": video.name });
  player.addEventListener("error", () => player.remove(), { once: true }); // the filmstrip stays
  player.addEventListener("timeupdate", () => {
    line.hidden = false;
    line.style.left = `${Math.min(100, (player.currentTime / total) * 100)}%`;
  });
  track.addEventListener("click", (event) => {
    if (!player.isConnected || event.target.closest(".spans")) return;
    const box = track.getBoundingClientRect();
    player.currentTime = ((event.clientX - box.left) / box.width) * total;
  });
  return el("article", {}, head, player, track,
    el("div", { class: "axis", "aria-hidden": "true" }, el("span", {}, "0"), el("span", {}, clock(total / 2)), el("span", {}, clock(total))),
    key(answer.classes), ...answer.notes.map((note) => el("p", { class: "hint" }, sentence(note))), found,
    video.truth ? el("p", { class: "truth" }, `It really shows, one after the other: ${video.truth}.`) : null);
}

/** Score curves: one line a class over the time from `from` to `to`; 0 at the bottom, 1 at the top. */
function curves(classes, times, proba, from, to) {
  const node = document.createElementNS(SVG, "svg");
  node.setAttribute("class", "curves");
  node.setAttribute("viewBox", "0 0 1000 100");
  node.setAttribute("preserveAspectRatio", "none");
  node.setAttribute("aria-hidden", "true");
  for (const y of [0, 50, 100]) {
    const line = document.createElementNS(SVG, "line");
    for (const [name, value] of Object.entries({ x1: 0, x2: 1000, y1: y, y2: y })) line.setAttribute(name, value);
    node.append(line);
  }
  for (const [at, name] of classes.entries()) {
    const path = document.createElementNS(SVG, "path");
    const points = times.map((time, row) => `${(((time - from) / (to - from)) * 1000).toFixed(1)} ${(100 - proba[row][at] * 100).toFixed(1)}`);
    path.setAttribute("d", points.length ? `M${points.join("L")}` : "");
    const number = classColour(name, classes);
    if (number % 2) path.setAttribute("class", "dash");
    node.append(colour(path, number));
  }
  return node;
}

const key = (classes) => el("div", { class: "key", "aria-hidden": "true" }, ...classes.map((name) => el("span", {}, swatch(name, classes), name)));

$("try-file").addEventListener("click", () => $("try-input").click());
$("try-input").addEventListener("change", () => { tryFiles([...$("try-input").files]); $("try-input").value = ""; });
dropOn($("try-drop"), (files) => {
  if (state.taught) tryFiles(files);
  else complain("nothing has been taught yet: press Teach first");
});

function tryFiles(files) {
  complain("");
  stopLive();
  if (files.length) send(files.slice(0, 1));
}

for (const [id, drawn] of [["try-unseen", false], ["try-film", true]])
  $(id).addEventListener("click", async () => {
    complain("");
    stopLive();
    $(id).disabled = true;
    const made = await tell("POST", "/api/unseen", { film: drawn });
    $(id).disabled = false;
    if (made) { shown = made.id; render(); }
  });

// ---------------------------------------------------------------- the camera

async function camera() {
  if (!navigator.mediaDevices?.getUserMedia) throw new Error("this browser gives pages no camera, or only on https and 127.0.0.1");
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 } } });
  } catch (error) {
    throw new Error({
      NotFoundError: "no camera was found: connect one, then try again",
      NotAllowedError: "the camera is not allowed: permit it in the address bar, then try again",
      NotReadableError: "the camera is in use by another program: close that one, then try again",
    }[error.name] ?? `the camera does not start (${error.name})`);
  }
}

const PAST = 12; // seconds of score curves beside the camera

$("try-camera").addEventListener("click", async () => {
  complain("");
  if (live) return stopLive();
  try {
    const stream = await camera();
    try {
      await startLive(stream, await ask("POST", "/api/live"));
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
  $("live").replaceChildren(el("div", { class: "view" }, video, tag), plot, key(classes), said,
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
      const seen = await ask("POST", `/api/live/frame?${query}`, rgb, true);
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
    if (!times.length) set(tag.firstElementChild, seen.ready < 1 ? `Watching … ${percent(seen.ready)}` : "Watching …");
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
    set(mine.said, label);
  }
  set(tag.lastElementChild, label === UNKNOWN ? "" : percent(share));
  mine.plot.replaceChildren(curves(classes, times, proba, times.at(-1) - PAST, times.at(-1)));
  set(mine.lag, `Answered ${Math.round(milliseconds)} ms after the frame. The picture stays on this computer.`);
}

function stopLive() {
  if (!live) return;
  const { id, stream } = live;
  live = null;
  stream.getTracks().forEach((track) => track.stop());
  $("live").hidden = true;
  $("live").replaceChildren();
  ask("DELETE", `/api/live/${id}`).catch(() => {});
  render();
}

function renderLive() {
  set($("try-camera"), live ? "Stop the camera" : "Camera");
  if (!live) return;
  const { id } = live;
  const keepAs = async (label) => {
    if (await tell("POST", `/api/live/${id}/keep`, { label })) toast(`It is a clip of “${nameOf(label)}” now. Teach again to use it.`);
  };
  keyed(live.keep, state.labels, (label) => label.id + label.name, (label) =>
    el("button", { type: "button", onclick: () => keepAs(label.id) }, swatch(label.name), label.name));
}

const recorder = { label: "", stream: null, run: 0 };

async function openRecorder(label) {
  let stream;
  try {
    stream = await camera();
  } catch (error) {
    toast(sentence(error.message));
    return;
  }
  Object.assign(recorder, { label, stream });
  set($("recorder-title"), `Record “${nameOf(label)}”`);
  set($("recorder-said"), "Three, two, one: then do it until the red dot goes out.");
  const video = $("recorder").querySelector("video");
  video.srcObject = stream;
  video.play();
  $("recorder-go").disabled = false;
  $("recorder").showModal();
  $("recorder-go").focus();
}

$("recorder").addEventListener("close", () => {
  recorder.run += 1;
  recorder.stream?.getTracks().forEach((track) => track.stop());
  recorder.stream = null;
  $("recorder").querySelector("video").srcObject = null;
  set($("recorder-count"), "");
  $("recorder").querySelector(".stage").classList.remove("rec");
});

$("recorder-go").addEventListener("click", async () => {
  const run = ++recorder.run;
  const { label, stream } = recorder;
  const takes = Number($("recorder-takes").value);
  const seconds = Number($("recorder-seconds").value);
  $("recorder-go").disabled = true;
  faults.delete(label);
  for (let take = 1; take <= takes; take += 1) {
    set($("recorder-said"), takes > 1 ? `Take ${take} of ${takes}` : "");
    for (const count of take === 1 ? ["3", "2", "1"] : ["2", "1"]) {
      set($("recorder-count"), count);
      await wait(700);
      if (run !== recorder.run) return;
    }
    set($("recorder-count"), "");
    const stage = $("recorder").querySelector(".stage");
    stage.classList.add("rec");
    const file = await record(stream, seconds, take);
    stage.classList.remove("rec");
    if (run !== recorder.run) return;
    send([file], label, "camera", seconds);
  }
  set($("recorder-said"), `${plural(takes, "take")} recorded. Once more, or close.`);
  $("recorder-go").disabled = false;
  $("recorder-go").focus();
});

const wait = (ms) => new Promise((done) => setTimeout(done, ms));

async function record(stream, seconds, take) {
  const kind = ["video/webm;codecs=vp8", "video/webm;codecs=vp9", "video/webm", "video/mp4"].find((one) => MediaRecorder.isTypeSupported(one));
  const made = new MediaRecorder(stream, { mimeType: kind, videoBitsPerSecond: 2_500_000 });
  const parts = [];
  made.ondataavailable = (event) => parts.push(event.data);
  const ended = new Promise((done) => { made.onstop = done; });
  made.start();
  await wait(seconds * 1000);
  made.stop();
  await ended;
  const now = new Date().toTimeString().slice(0, 8);
  return new File(parts, `take ${take}, ${now}${kind.startsWith("video/mp4") ? ".mp4" : ".webm"}`, { type: kind });
}

// ---------------------------------------------------------------- in step with the server

function render() {
  if (!state) return;
  renderShow();
  renderTeach();
  renderTry();
  renderLive();
  document.querySelector("main").removeAttribute("aria-busy");
  set($("status"), state.drawing ? "Drawing the example …" : state.teaching?.status === "running" ? "Teaching …" : "Everything is saved");
  set($("where"), `This project is kept in ${state.folder}. Nothing leaves this computer.`);
}

/** Listens to the server, for as long as the page is open: also to one that was started again. */
function follow() {
  const events = new EventSource("/api/events");
  events.addEventListener("state", (event) => {
    state = JSON.parse(event.data);
    lost(false);
    render();
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
  $("lost-away").hidden = refused;
  $("lost-shut").hidden = !refused;
}

follow();

if (location.search) history.replaceState(null, "", "/"); // the link is used up; it stays out of the history, too
