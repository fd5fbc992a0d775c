// What a person chooses in place of what kshot would: the backbone and run to begin from, and when an answer is "unknown".

import { $, setText } from "./dom.js";
import { announce, attempt } from "./messages.js";
import { request } from "./server.js";
import { state } from "./state.js";
import { sentence } from "./words.js";

const FIELDS = ["backbone", "adapted"];

export function renderChoices() {
  const { choices, taught } = state;
  $("choices-fixed").hidden = !choices.fixed;
  $("choices-from").hidden = choices.fixed;
  for (const name of FIELDS) {
    const field = $(`choice-${name}`);
    if (document.activeElement !== field && field.dataset.saved !== choices[name]) field.value = field.dataset.saved = choices[name];
  }
  const slider = $("choice-threshold");
  const own = taught?.threshold ?? null;
  const now = choices.threshold ?? own;
  slider.disabled = !taught;
  $("choice-own").disabled = choices.threshold === null;
  if (document.activeElement !== slider) slider.value = now ?? -1;
  say(choices.threshold === null && own === null ? null : Number(slider.value), choices.threshold === null);
}

function say(value, own) {
  setText($("choice-said"), value === null ? "… nothing: it always names an action" : `${value.toFixed(2)}${own ? ", as taught" : ""}`);
}

$("choices-from").addEventListener("submit", async (event) => {
  event.preventDefault();
  const asked = Object.fromEntries(FIELDS.map((name) => [name, $(`choice-${name}`).value.trim()]));
  const refused = await request("PATCH", "/api/choices", { ...asked, threshold: state.choices.threshold }).then(() => "", (error) => sentence(error.message));
  setText($("choice-refused"), refused && `Not taken: ${refused}`);
  if (!refused) announce("The next teaching begins from it.");
});

$("choice-threshold").addEventListener("input", () => say(Number($("choice-threshold").value), false));
$("choice-threshold").addEventListener("change", () => attempt("PATCH", "/api/choices", { threshold: Number($("choice-threshold").value) }));
$("choice-own").addEventListener("click", () => attempt("PATCH", "/api/choices", { threshold: null }));
