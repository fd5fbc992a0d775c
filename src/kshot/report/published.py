"""Published 5-way results, to hold one's own against: only what was read at its source, in `published.toml`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

WAY = 5
SETS = {  # name -> how many novel classes and clips the published split has, which names what was tested
    "hmdb51": (10, 1292),
    "ucf101": (21, 2745),
    "kinetics100": (24, 2400),
    "ssv2-full": (24, 2857),
    "ssv2-small": (24, 2400),
}
INTRO = """\
# Published results

Written by `python scripts/published_docs.py` from `src/kshot/report/published.toml`. `kshot report` shows the rows of a
study's data set, way and shots below the study's own.

5-way accuracy in % on novel classes. A row stands here only if its figure was read at its source: the paper, or a
repository of its authors. Read on {read_on}, as stored public copies, which may be older than the live pages. What
could not be read at its source is named at the end, without figures, so the table has gaps where the field is best
known, and the highest figure here need not be the highest there is.

**Hold them against your own with care.** They were not made with kshot. Backbones and what these had seen differ, as do
class texts, frames, augmentation, queries an episode, clips that are still to be had (Kinetics), and how the weights
were chosen: some code looks at the test classes while it trains. kshot chooses on val classes; its own rows are
comparable with one another, in pairs on the same episodes, and with these only roughly.
"""


@dataclass(frozen=True)
class Source:
    """Where rows were read.

    Attributes:
        name: what tables call it.
        title: of the publication.
        link: of what was read.
        paper: of the publication; "" where its address is not known.
        read: which files or pages were read, and what was left out of them.
        protocol: how the test differs from others, in a line.
    """

    name: str
    title: str
    link: str
    paper: str
    read: str
    protocol: str


@dataclass(frozen=True)
class PublishedRow:
    """A published method on a data set.

    Attributes:
        method: its name.
        backbone: of the method, by name.
        data: a name of `SETS`.
        accuracy: shot -> 5-way accuracy, percent.
        source: where it was read.
    """

    method: str
    backbone: str
    data: str
    accuracy: dict[int, float]
    source: Source


def rows() -> tuple[PublishedRow, ...]:
    """All of them, in the order of the file."""
    made = []
    for entry in _file()["source"]:
        source = Source(**{"paper": ""} | {key: value for key, value in entry.items() if key != "rows"})
        for row in entry["rows"]:
            shots = {int(shot): float(value) for shot, value in row["accuracy"].items()}
            made.append(PublishedRow(row["method"], row["backbone"], row["data"], shots, source))
    return tuple(made)


def known_as(data: str) -> str:
    """The name in `SETS` that a data set, as a study names it ("hmdb51", "clips/ssv2_full.csv"), stands for; or ""."""
    stem = re.split(r"[/\\]", data.partition("?")[0])[-1].removesuffix(".csv").removesuffix(".npz")
    name = stem.lower().replace("_", "-")
    return next((known for known in SETS if name == known or name.startswith((f"{known}-", f"{known}:"))), "")


def matching(data: str, way: int, shots: Collection[int], classes: int) -> list[PublishedRow]:
    """The rows that a result on `classes` novel classes of `data` may be held against, the highest first.

    Empty where the data set, its novel classes, the way or all the shots are not those of a published row.
    """
    name = known_as(data)
    if way != WAY or not name or SETS[name][0] != classes:
        return []
    found = [row for row in rows() if row.data == name and set(row.accuracy) & set(shots)]

    def height(row: PublishedRow) -> list[float]:
        return [row.accuracy.get(shot, 0.0) for shot in sorted(shots, reverse=True)]

    return sorted(found, key=height, reverse=True)


def written(accuracy: float | None) -> str:
    """A figure with the decimals that its source gives, one or two; "" for none."""
    if accuracy is None:
        return ""
    return f"{accuracy:.1f}" if accuracy == round(accuracy, 1) else f"{accuracy:.2f}"


def as_markdown() -> str:
    """The page docs/published.md."""
    file, parts = _file(), []
    parts.append(INTRO.format(read_on=file["read_on"].isoformat()))
    for name, (classes, clips) in SETS.items():
        mine = [row for row in rows() if row.data == name]
        shots = sorted({shot for row in mine for shot in row.accuracy})
        parts.append(f"## {name}\n\nThe published split has {classes} novel classes with {clips:,} clips.\n")
        parts.append(f"| method | backbone | {' | '.join(f'{shot}-shot' for shot in shots)} | read at |")
        parts.append(f"| --- | --- |{' --- |' * len(shots)} --- |")
        for row in mine:
            cells = " | ".join(written(row.accuracy.get(shot)) for shot in shots)
            parts.append(f"| {row.method} | {row.backbone} | {cells} | [{row.source.name}]({row.source.link}) |")
        parts.append("")
    parts.append("## What was read\n")
    for source in dict.fromkeys(row.source for row in rows()):
        paper = f" ([paper]({source.paper}))" if source.paper else ""
        parts.append(f"- **[{source.name}]({source.link})**: *{source.title}*{paper}.")
        parts.append(f"  Read: {source.read}.\n  How it was tested: {source.protocol}.")
    parts.append("\n## What could not be read\n")
    parts += [f"- {', '.join(entry['names'])}: {entry['why']}." for entry in file["absent"]]
    return "\n".join(parts) + "\n"


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads(resources.files("kshot.report").joinpath("published.toml").read_text("utf-8"))
