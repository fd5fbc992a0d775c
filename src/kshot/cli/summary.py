"""`kshot summary`: what a lab, a gym and a factory read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kshot.cli.app import app
from kshot.cli.common import JSON, show, tell_notes
from kshot.terminal import percent


@app.command()
def summary(
    files: Annotated[list[Path], typer.Argument(help="timelines (--json) or annotations of BORIS, ELAN, CVAT, ...")],
    against: Annotated[
        list[Path] | None, typer.Option(help="a person's annotations of the same videos; repeat")
    ] = None,
    by: Annotated[str | None, typer.Option(help="subject or video; subject where one is named")] = None,
    bin: Annotated[float | None, typer.Option(help="also tell stretches of so many seconds apart")] = None,
    step: Annotated[float, typer.Option(help="seconds between moments that are compared with --against")] = 1.0,
    videos: Annotated[Path | None, typer.Option(help="a folder to look for videos in by name, or one video")] = None,
    fps: Annotated[float | None, typer.Option(help="frames a second, for formats that count frames")] = None,
    out: Annotated[Path | None, typer.Option(help="a folder for tables (CSV) and pictures (SVG, PNG)")] = None,
    as_json: JSON = False,
) -> None:
    """Time budgets of timelines or annotations, and their agreement with a person's.

    Example: kshot summary night.json --against night.boris --bin 60 --out night
    """
    from kshot.report.summary import summarise

    show(summarise(files, against or (), by, bin, step, videos, fps, out), as_json, _tell)


def _tell(values: dict[str, Any]) -> None:
    lines = values["budget"]
    rows = [(values["by"], "action", "bouts", "total", "mean", "first at", "share")]
    rows += [
        (
            one["unit"], one["action"], str(one["bouts"]), f"{one['total']:.1f} s",
            *("" if one[key] is None else f"{one[key]:.1f} s" for key in ("mean", "latency")), percent(one["share"]),
        )
        for one in lines
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(7)]
    for row in rows:
        cells = [
            f"{cell:<{width}}" if column < 2 else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        typer.echo("  ".join(cells).rstrip())
    if agreed := values["agreement"]:
        kappa = "not defined" if agreed["kappa"] is None else f"{agreed['kappa']:.2f}"
        typer.echo(f"\nagreement: kappa {kappa}, the same label {percent(agreed['same'])} of the time")
        for one in agreed["actions"]:
            own = "" if one["kappa"] is None else f", kappa {one['kappa']:.2f}"
            typer.echo(
                f"  {one['action']}: F1 {one['f1']:.2f} (annotator {one['human']}, compared {one['other']}, "
                f"both {one['both']}){own}"
            )
    for file in values["files"]:
        typer.echo(f"written: {file}")
    tell_notes(values["notes"])
