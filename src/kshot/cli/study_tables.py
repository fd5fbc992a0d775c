"""What `kshot study` prints: its tables, and what it would take."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from kshot.cli.common import tell_notes
from kshot.terminal import console

if TYPE_CHECKING:
    from kshot.study.file import Study
    from kshot.study.results import Line, StudyResult


def tell_study(report: StudyResult) -> None:
    from kshot.study.results import budget
    from kshot.study.tables import lacking, noted, texts_alone

    settings = report.settings
    for data, backbone in report.parts():
        lines = report.lines(data, backbone)
        title = f"{data}, {backbone}: {settings.way}-way accuracy in %, {settings.episodes:,} episodes a seed"
        _tell_declared(report, data, backbone)
        finished = _tell_accuracies(title, lines, settings)
        if told := texts_alone(lines):
            typer.echo(told)
        if gaps := lacking(report.rows, data):
            typer.echo(gaps)
        tell_notes(noted(report.rows, data))
        fewer = {one.name: one.episodes for one in lines if one.shot is not None and one.episodes != settings.episodes}
        for name, count in sorted(fewer.items()):
            typer.echo(f"{name}: first {count:,} episodes")
        for name, said in {one.name: said for one in lines if (said := budget(one, lines))}.items():
            typer.echo(f"{name}: {said}")
        for line in lines:
            if line.shot is None:
                typer.echo(f"{line.name} failed: {line.error}")
        _tell_costs(finished)


def tell_shard(report: StudyResult, shard: str) -> None:
    """What a shard of a study ran; the tables come with the rows of the others."""
    failed = [row for row in report.rows if row.error]
    typer.echo(
        f"shard {shard}: {len(report.rows) - len(failed)} rows finished, {len(failed)} failed\n"
        f"next: the same command with --merge in place of --shard, once all shards are there"
    )
    for row in failed:
        typer.echo(f"{row.name}, seed {row.seed} failed: {row.error}")


def _tell_accuracies(title: str, lines: Sequence[Line], settings: Study) -> list[Line]:
    """Prints the table of accuracies; returns the line of each method that finished, at the most shots."""
    from rich.table import Table

    from kshot.study import words

    shots = sorted({line.shot for line in lines if line.shot is not None})
    table = Table("method", title=title, title_justify="left")
    for shot in shots:
        table.add_column(f"{shot}-shot", justify="right")
        table.add_column(f"to {settings.baseline or '-'}", justify="right")
    finished = []
    for name in dict.fromkeys(line.name for line in lines):
        own = {line.shot: line for line in lines if line.name == name}
        if None in own:
            table.add_row(name, "failed")
            continue
        cells = []
        for shot in shots:
            line = own[shot]
            cells += [words.accuracy(line), "* " * words.marked(line, settings) + words.difference(line)]
        finished.append(own[shots[-1]])
        table.add_row(name, *cells)
    _screen().print(table)
    for sentence in (words.scopes(lines), words.pairs(settings), words.marks(settings, "*")):
        if sentence:
            typer.echo(sentence)
    return finished


def _tell_declared(report: StudyResult, data: str, backbone: str) -> None:
    """Prints the comparisons that a study declared."""
    from rich.table import Table

    from kshot.study import words

    mine = report.declared(data, backbone)
    if mine:
        table = Table(*words.DECLARED, title="declared comparisons", title_justify="left")
        for one in mine:
            cells = words.declared(one)
            cells[2] = "* " * one.differs + cells[2]
            table.add_row(*cells)
        _screen().print(table)
        typer.echo(words.family(mine) + "\n")


def _tell_costs(lines: Sequence[Line]) -> None:
    from rich.table import Table

    from kshot.fewshot import cost

    if keys := cost.present(lines):
        shot = lines[0].shot
        costs = Table(title=f"cost, at {shot}-shot where it depends on the shots", title_justify="left")
        costs.add_column("method")
        for key in keys:  # one word a line, so that ten columns stand side by side
            costs.add_column(cost.COLUMNS[key][0].replace(" ", "\n").replace("-", "-\n"), justify="right")
        for line in lines:
            costs.add_row(line.name, *(cost.written(line, key) for key in keys))
        _screen().print(costs)


def _screen() -> Any:
    return console(width=None if sys.stdout.isatty() else 140)


def tell_report(values: dict[str, Any]) -> None:
    """Where the page is, and what it could not show."""
    typer.echo(f"wrote {values['page']} and {len(values['plots'])} plots")
    tell_notes(values["notes"])


def tell_forecast(values: dict[str, Any]) -> None:
    from rich.table import Table

    from kshot.fewshot.cost import as_bytes, as_time

    screen, settings = _screen(), values["settings"]
    told = f"seeds {', '.join(map(str, settings['seeds']))}, shots {', '.join(map(str, settings['shots']))}"
    typer.echo(f"{values['title']}: {told}, {settings['episodes']:,} episodes each; counted from nothing to the end\n")
    for part in values["parts"]:
        rate = f"{values['speed']:g}e12 multiply-adds a second" if values["speed"] else f"this {part['device']}"
        clips = ", ".join(f"{count:,} {split}" for split, count in part["clips"].items())
        decoding = "not timed" if part["decoding"] is None else f"{part['decoding'] * 1000:.0f} ms a clip in a process"
        typer.echo(f"{part['data']} ({clips} clips), {part['backbone']}\nat {rate}, decoding {decoding}")
        stores = Table("stored at cut", title="activations", title_justify="left")
        for name in ("clips", "disk", "time"):
            stores.add_column(name, justify="right")
        for one in part["stores"]:
            stores.add_row(str(one["cut"]), f"{one['clips']:,}", as_bytes(one["bytes"]), as_time(one["seconds"]))
        screen.print(stores)
        rows = Table("method", title="rows", title_justify="left")
        for name in ("trainings", "training", "validation", "testing", "together", "memory of a step"):
            rows.add_column(name, justify="right")
        for one in part["rows"]:
            if "error" in one:
                rows.add_row(one["name"], "cannot run")
                continue
            times = [as_time(one[key]) for key in ("training", "validation", "testing", "seconds")]
            rows.add_row(one["name"], str(one["trainings"] or "–"), *times, as_bytes(one["memory"] or None))
        screen.print(rows)
        failing: dict[str, list[str]] = {}  # what is wrong is often the same with many rows
        for one in part["rows"]:
            if "error" in one:
                failing.setdefault(one["error"], []).append(one["name"])
        for error, names in failing.items():
            typer.echo(f"{'; '.join(names)} cannot run: {error}")
    typer.echo(f"in all: {as_bytes(values['bytes'])} on disk, {as_time(values['seconds'])}")
