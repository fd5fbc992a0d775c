"""A study's summary as tables: Markdown for people, CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from kshot.fewshot import cost
from kshot.templates import markdown


def as_markdown(report: dict[str, Any]) -> str:
    """The summary as Markdown tables, one for each data set and backbone."""
    settings, parts = report["settings"], [f"# {markdown(report['title'])}\n"]
    parts.append(
        f"{report['date']}, kshot {report['version']}: {settings['way']}-way, {settings['query']} queries a class, "
        f"split {markdown(settings['split'])}, {settings['episodes']:,} episodes a seed, "
        f"seeds {', '.join(map(str, settings['seeds']))}."
        + (
            f" Differences are to {markdown(settings['baseline'])} on the same episodes."
            if settings["baseline"]
            else ""
        )
        + "\n"
    )
    for data, spine in dict.fromkeys((line["data"], line["backbone"]) for line in report["summary"]):
        lines = [line for line in report["summary"] if (line["data"], line["backbone"]) == (data, spine)]
        shots = sorted({line["shot"] for line in lines if "shot" in line})
        parts.append(f"\n## {markdown(data)}, {markdown(spine)}\n")
        if told := lacking(report["rows"], data):
            parts.append(f"{markdown(told)}\n")
        parts += [f"{markdown(note)}.\n" for note in noted(report["rows"], data)]
        head = ["method", *(f"{s}-shot, % | difference" for s in shots)]
        parts.append(_ruled(head, 1 + 2 * len(shots)))
        finished: list[dict[str, Any]] = []
        for name in dict.fromkeys(line["name"] for line in lines):
            own = {line.get("shot"): line for line in lines if line["name"] == name}
            if None in own:
                parts.append(f"| {markdown(name)} | failed: {markdown(own[None]['error'])} |")
                continue
            cells = []
            for shot in shots:
                line = own[shot]
                note = "" if line["episodes"] == settings["episodes"] else f" (first {line['episodes']:,} episodes)"
                cells.append(f"{line['accuracy']:.1f} ± {line['ci95']:.1f}{note}")
                cells.append(_difference(line, len(settings["seeds"])))
            finished.append(own[shots[-1]])
            parts.append(f"| {' | '.join([markdown(name), *cells])} |")
        if searched := {line["name"]: line["chosen"] for line in lines if line.get("chosen")}:
            told = "; ".join(f"{name}: {chosen}" for name, chosen in searched.items())
            parts.append(f"\nChosen on val with the first seed, out of {_told(settings['search'])}: {markdown(told)}.")
        keys = cost.present(finished)
        if keys:
            parts.append(f"\nCost, at {shots[-1]}-shot where it depends on the shots:\n")
            parts.append(_ruled(["method", *(cost.COLUMNS[key][0] for key in keys)], 1 + len(keys)))
            for line in finished:
                parts.append(f"| {' | '.join([markdown(line['name']), *(cost.written(line, key) for key in keys)])} |")
    return "\n".join(parts) + "\n"


def lacking(rows: Sequence[Mapping[str, Any]], data: str) -> str:
    """A sentence on the clips that this copy of a benchmark lacks; "" where none is missing."""
    names = list(dict.fromkeys(clip for row in rows if row["data"] == data for clip in row.get("missing", ())))
    more = f" and {len(names) - 3} more, see study.json" if len(names) > 3 else ""
    return f"This copy of {data} lacks clips of the published split: {'; '.join(names[:3])}{more}." if names else ""


def noted(rows: Sequence[Mapping[str, Any]], data: str) -> list[str]:
    """Sentences on what of a data set was passed over, left out or kept apart."""
    return list(dict.fromkeys(note for row in rows if row["data"] == data for note in row.get("notes", ())))


def _ruled(head: list[str], columns: int) -> str:
    return f"| {' | '.join(head)} |\n|{' --- |' * columns}"


def _told(search: dict[str, list[Any]]) -> str:
    """A study's search in words."""
    return (
        " and ".join(f"{name} {', '.join(map(str, values))}" for name, values in search.items()) or "a row's own values"
    )


def _difference(line: dict[str, Any], seeds: int) -> str:
    if "difference" not in line:
        return ""
    agree = f", {line['agree']} of {line['seeds']} seeds" if seeds > 1 else ""
    return f"{line['difference']:+.1f} ± {line['difference_ci95']:.1f}{agree}"


def as_csv(report: dict[str, Any]) -> str:
    """The summary as CSV."""
    names = list(dict.fromkeys(name for line in report["summary"] for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(report["summary"])
    return text.getvalue()
