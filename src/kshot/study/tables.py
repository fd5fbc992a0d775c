"""A study's summary as tables: Markdown for people, CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from kshot.backbones import published
from kshot.fewshot import cost
from kshot.study import words
from kshot.study.file import Study
from kshot.study.results import Line, RowResult, StudyResult, budget
from kshot.templates import markdown

TOGETHER = (
    "These methods see all queries of an episode when they score one, and an episode here has as many of every class: "
    "compare them with each other only."
)
NO_CHOICE = " None: every value tried kept the untrained start."


def as_markdown(report: StudyResult) -> str:
    """The summary as Markdown tables, one for each data set and backbone."""
    settings = report.settings
    parts = [
        f"# {markdown(report.title)}\n",
        f"{report.date}, kshot {report.version}: {settings.way}-way, {settings.query} queries a class, "
        f"split {markdown(settings.split)}, {settings.episodes:,} episodes a seed, "
        f"seeds {markdown(words.seeds(settings))}. {markdown(words.pairs(settings))}".rstrip()
        + (
            f" Each class of an episode has its own number of support clips, {settings.least_shot} up to the shot."
            if settings.least_shot is not None
            else ""
        )
        + "\n",
    ]
    for data in dict.fromkeys(data for data, _ in report.parts()):
        parts += _across(report, data)
    for data, backbone in report.parts():
        parts.append(f"\n## {markdown(data)}, {markdown(backbone)}\n")
        if learned := published.trained_on(backbone):
            parts.append(f"{markdown(backbone)} was trained on {markdown(learned)}.\n")
        if gaps := lacking(report.rows, data):
            parts.append(f"{markdown(gaps)}\n")
        parts += [f"{markdown(note)}.\n" for note in noted(report.rows, data)]
        lines = report.lines(data, backbone)
        parts += _declared(report, data, backbone)
        parts += _table([line for line in lines if line.name not in report.transductive], settings)
        if together := [line for line in lines if line.name in report.transductive]:
            parts.append(f"\n### Transductive\n\n{TOGETHER}\n")
            parts += _table(together, settings)
    return "\n".join(parts) + "\n"


def _across(report: StudyResult, data: str) -> list[str]:
    """A table of backbones for each shot, where there are several."""
    parts = []
    for table in report.across(data):
        kind = ", transductive" if table.transductive else ""
        parts.append(f"\n## {markdown(data)}, backbones side by side, {table.shot}-shot{kind}, %\n")
        parts.append(_ruled(["backbone", *map(markdown, table.methods), "trained on"], 2 + len(table.methods)))
        for backbone, lines in table.rows.items():
            cells = ["failed" if line is None else words.accuracy(line) for line in lines]
            learned = published.trained_on(backbone) or "not known"
            parts.append(f"| {' | '.join([markdown(backbone), *cells, markdown(learned)])} |")
        parts.append(f"\n{words.scopes([line for lines in table.rows.values() for line in lines if line])}")
    return parts


def _declared(report: StudyResult, data: str, backbone: str) -> list[str]:
    """The table of declared comparisons of a data set and backbone; nothing where there are none."""
    mine = report.declared(data, backbone)
    parts = [_ruled(words.DECLARED, len(words.DECLARED))] * bool(mine)
    for one in mine:
        cells = [markdown(cell) for cell in words.declared(one)]
        cells[2] = f"**{cells[2]}**" if one.differs else cells[2]
        parts.append(f"| {' | '.join(cells)} |")
    return [*parts, f"\n{words.family(mine)}\n"] if mine else []


def _table(lines: Sequence[Line], settings: Study) -> list[str]:
    """The table of accuracies of a data set and backbone, what was searched, and the table of costs."""
    shots = sorted({line.shot for line in lines if line.shot is not None})
    head = ["method", *(f"{shot}-shot, % | difference" for shot in shots)]
    parts, finished = [_ruled(head, 1 + 2 * len(shots))], []
    for name in dict.fromkeys(line.name for line in lines):
        own = {line.shot: line for line in lines if line.name == name}
        if None in own:
            parts.append(f"| {markdown(name)} | failed: {markdown(own[None].error)} |")
            continue
        cells = []
        for shot in shots:
            line = own[shot]
            remarks = [] if line.episodes == settings.episodes else [f"first {line.episodes:,} episodes"]
            remarks += [said] if (said := budget(line, lines)) else []
            note = f" ({'; '.join(remarks)})" if remarks else ""
            shown = words.difference(line)
            cells += [words.accuracy(line) + note, f"**{shown}**" if words.marked(line, settings) else shown]
        finished.append(own[shots[-1]])
        parts.append(f"| {' | '.join([markdown(name), *cells])} |")
    if notes := " ".join(filter(None, (words.scopes(lines), words.marks(settings, "**Bold**")))):
        parts.append(f"\n{notes}")
    if choices := _choices(lines):
        none = NO_CHOICE if any(line.chosen == "none" for line in lines) else ""
        values = _values(settings.search)
        parts.append(f"\nChosen on val with the first seed, out of {values}: {markdown(choices)}.{none}")
    if told := texts_alone(lines):
        parts.append(f"\n{markdown(told)}")
    if keys := cost.present(finished):
        parts.append(f"\nCost, at {shots[-1]}-shot where it depends on the shots:\n")
        parts.append(_ruled(["method", *(cost.COLUMNS[key][0] for key in keys)], 1 + len(keys)))
        parts += [
            f"| {' | '.join([markdown(one.name), *(cost.written(one, key) for key in keys)])} |" for one in finished
        ]
    return parts


def _choices(lines: Sequence[Line]) -> str:
    """What was chosen for each method, and for each of its shots where they differ."""
    found: dict[str, dict[str, list[int]]] = {}
    for line in lines:
        if line.chosen and line.shot is not None:
            found.setdefault(line.name, {}).setdefault(line.chosen, []).append(line.shot)
    said = []
    for name, chosen in found.items():
        each = [f"{one} at {'- and '.join(map(str, shots))}-shot" for one, shots in chosen.items()]
        said.append(f"{name}: {', '.join(each) if len(each) > 1 else next(iter(chosen))}")
    return "; ".join(said)


def texts_alone(lines: Sequence[Line]) -> str:
    """A sentence on what class texts alone say, for each method that reads them beside clips; "" where none does."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.text_alone is not None:
            found.setdefault(line.name, []).append(f"{line.text_alone:.1f} % at {line.shot}-shot")
    if not found:
        return ""
    each = "; ".join(f"{name} {', '.join(cells)}" for name, cells in found.items())
    return f"Class texts alone, without a support clip, on the same episodes: {each}."


def lacking(rows: Sequence[RowResult], data: str) -> str:
    """A sentence on the clips that this copy of a benchmark lacks; "" where none is missing."""
    names = list(dict.fromkeys(clip for row in rows if row.data == data for clip in row.missing))
    more = f" and {len(names) - 3} more, see study.json" if len(names) > 3 else ""
    return f"This copy of {data} lacks clips of the published split: {'; '.join(names[:3])}{more}." if names else ""


def noted(rows: Sequence[RowResult], data: str) -> list[str]:
    """Sentences on what of a data set was passed over, left out or kept apart."""
    return list(dict.fromkeys(note for row in rows if row.data == data for note in row.notes))


def _ruled(head: list[str], columns: int) -> str:
    return f"| {' | '.join(head)} |\n|{' --- |' * columns}"


def _values(search: dict[str, list[Any]]) -> str:
    """A study's search in words."""
    return (
        " and ".join(f"{name} {', '.join(map(str, values))}" for name, values in search.items()) or "a row's own values"
    )


def as_csv(report: StudyResult) -> str:
    """The summary as CSV."""
    lines = [line.model_dump(exclude_unset=True) for line in report.summary]
    names = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
