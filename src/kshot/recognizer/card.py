"""The model card: what a person should know before using a model. Written as the README.md of its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kshot.backbones.hub import ALIASES, BUNDLED
from kshot.recognizer.methods import method

OPENAI = (
    "OpenAI's CLIP, code and weights under the MIT licence; its model card calls deployed use out of scope unless it "
    "was tested for the very task (github.com/openai/CLIP)"
)
LICENCES = {
    BUNDLED: "`kshot-tiny`, Apache-2.0, part of kshot; it has seen drawn figures only",
    **dict.fromkeys((*ALIASES, *ALIASES.values()), OPENAI),
}
SHOWN = 12  # confusions

HEADER = """---
library_name: kshot
pipeline_tag: video-classification
tags: [kshot, few-shot, action-recognition]
---
"""
USE = """```bash
pip install kshot
kshot predict THIS_FOLDER video.mp4
```

```python
from kshot import Recognizer

model = Recognizer.load("THIS_FOLDER")
model.predict(["video.mp4"])
```
"""
WARNING = """## What it must not be used for

- Decisions about people (work, school, insurance, policing), watching people without their knowledge, or telling who
  somebody is. It knows movements like those in the clips it was shown, nothing else.
- Safety on its own: the only alarm for a fall, the only stop of a machine. The numbers above come from few clips and
  hold for videos like them; other cameras, rooms and people may give worse answers.
- Any place on whose own videos its numbers have not been checked.
"""


def card(config: dict[str, Any], pictures: list[str]) -> str:
    """Markdown of a model's card, with the header that the Hugging Face hub reads.

    Args:
        config: what `config.json` holds. pictures: names of the files in thumbnails/, by the class's number.
    """
    report, classes = config["report"], config["classes"]
    name = config["backbone"]["name"]
    parts = [
        HEADER,
        f"# A recognizer of {len(classes)} actions\n",
        f"Taught by {len(config['clips'])} clips with kshot {config['kshot']}, it names what a short video shows: "
        f"{', '.join(classes)}" + (', or "unknown".' if config["threshold"] is not None else ".") + "\n",
        _expected(report),
        _actions(report, pictures, config["arguments"]["background"]),
        _confusions(report),
        _unknown(report, config),
        _bullets("Worth knowing", report["notes"]),
        _suspects(report),
        "## How to use it\n",
        USE,
        "## How it was made\n",
        f"- Backbone: {LICENCES.get(name, f'`{name}`; its licence is its maker’s to tell')}. Fingerprint "
        f"`{config['backbone']['fingerprint'][:16]}`; the backbone is not part of this folder.\n"
        f"- Method: {config['method']} ({method(config['method']).words}), "
        f"{config['arguments']['frames']} frames a clip, seed {config['arguments']['seed']}.\n"
        + ("- It started from a backbone adapted on other, labelled actions.\n" if config["adapted"] else ""),
        WARNING,
    ]
    return "\n".join(part for part in parts if part)


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _expected(report: dict[str, Any]) -> str:
    found = report["accuracy"]
    if found is None:
        return f"## What to expect\n\n{report['why']}\n"
    return (
        f"## What to expect\n\nAbout **{_percent(found['value'])}** of new clips like these get their label "
        f"(95 % interval: {_percent(found['low'])} to {_percent(found['high'])}). {_balanced(found)}Measured on "
        f"{found['how']}.\n"
    )


def _balanced(found: dict[str, Any]) -> str:
    told = found.get("balanced")
    return (
        f"Where all actions are equally frequent: {_percent(told['value'])} ({_percent(told['low'])} to "
        f"{_percent(told['high'])}). "
        if told
        else ""
    )


def _actions(report: dict[str, Any], pictures: list[str], background: str | None) -> str:
    strips = {int(name.split(".")[0]): f"![](thumbnails/{name})" for name in pictures}
    head = "| action | clips | answered rightly | " + ("| " if strips else "")
    lines = [head.strip(), "|---|---:|---:|" + ("---|" if strips else "")]
    for number, row in enumerate(report["classes"]):
        share = "not known" if row["accuracy"] is None else _percent(row["accuracy"])
        label = f"{row['label']} (background)" if row["label"] == background else row["label"]
        picture = f" {strips.get(number, '')} |" if strips else ""
        lines.append(f"| {label} | {row['clips']} | {share} |{picture}")
    advice = [f"{row['label']}: {row['advice']}." for row in report["classes"] if row["advice"]]
    return "## Actions\n\n" + "\n".join(lines) + "\n" + ("\n" + _list(advice) if advice else "")


def _confusions(report: dict[str, Any]) -> str:
    rows = [
        f"{c['label']}: {c['count']} of {c['of']} taken for {c['taken_for']}." for c in report["confusions"][:SHOWN]
    ]
    return _bullets("What is mixed up", rows)


def _unknown(report: dict[str, Any], config: dict[str, Any]) -> str:
    told = report["unknown"]
    if told["auroc"] is None:
        return f'## "Unknown"\n\n{told["how"].capitalize()}.\n' if told["how"] else ""
    caught = f" and {_percent(told['caught'])} of others" if told.get("caught") is not None else ""
    said = (
        f'Below a likeness of {config["threshold"]:.3f} it answers "unknown", which it does for '
        f"{_percent(told['refused'])} of clips of the taught actions{caught}. "
        if config["threshold"] is not None and told["threshold"] is not None
        else ""
    )
    return (
        f'## "Unknown"\n\n{said}AUROC {told["auroc"]:.2f}: how often a clip of a taught action looks more like one '
        "than a clip of an action left out. "
        f"Where 95 % of taught actions are accepted, so are {_percent(told['fpr95'])} of the others. "
        f"Measured on {told['how']}; what is stranger than an action left out is told apart more easily.\n"
        + _trade(told)
    )


def _trade(told: dict[str, Any]) -> str:
    """What other thresholds would give; models of older versions do not know."""
    if not told.get("trade"):
        return ""
    rows = [f"| {p['threshold']:.3f} | {_percent(p['refused'])} | {_percent(p['caught'])} |" for p in told["trade"]]
    costs = told["costs"]
    weighed = (
        f" Its own is set for {_percent(costs['share'])} of videos that show none of the actions, and a wrong name for "
        f"one of those {_times(costs['cost'])}as bad as refusing a right one; at most {_percent(costs['most'])} of "
        "taught clips are refused."
        if costs
        else ""
    )
    return (
        f"\nWhat other thresholds would give, by {told['clips']} clips.{weighed}\n\n"
        "| threshold | taught refused | others caught |\n|---:|---:|---:|\n" + "\n".join(rows) + "\n"
    )


def _times(cost: float) -> str:
    return "" if cost == 1 else f"{cost:g} times "


def _suspects(report: dict[str, Any]) -> str:
    rows = [
        f"{_short(s['clip'])} ({s['label']}) is nearly the same as {_short(s['other'])} ({s['looks_like']})."
        if s["reason"] == "duplicate"
        else f"{_short(s['clip'])} ({s['label']}) looks like {s['looks_like']}."
        for s in report["suspects"]
    ]
    return _bullets("Clips to look at again", rows)


def _short(name: str) -> str:
    """A path's last folder and file, which tell a clip as well as all of it."""
    return "/".join(Path(name).parts[-2:])


def _bullets(title: str, rows: list[str]) -> str:
    return f"## {title}\n\n{_list(rows)}" if rows else ""


def _list(rows: list[str]) -> str:
    return "".join(f"- {row}\n" for row in rows)
