"""`kshot summary`: time budgets of timelines and annotations, and their agreement with an annotator, as files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path, PureWindowsPath
from typing import Any

from kshot.datasets.annotations.forms import Film
from kshot.datasets.annotations.loading import Found, alike, gather
from kshot.datasets.annotations.places import UPLOADED, local
from kshot.errors import DataError, OptionError
from kshot.files import disk, locked, write_atomic
from kshot.report import budget
from kshot.report.agreement import Agreement, compare

BY = ("subject", "video")


def summarise(
    files: Sequence[Path],
    against: Sequence[Path] = (),
    by: str | None = None,
    bin: float | None = None,
    step: float = 1.0,
    videos: Path | None = None,
    fps: float | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """The time budget of annotations, and what of it a human annotator says too. Videos need not be there.

    Args:
        files: timelines of kshot, or annotations in any format that it reads.
        against: annotations of the same videos by a person.
        by: "subject" or "video"; by default subjects where one is named.
        bin: seconds of the stretches that are also told apart; None for none.
        step: seconds between the moments that are compared with the annotator.
        videos: a folder in which videos are looked for by name, or one video.
        fps: frames a second, for formats that count frames.
        out: folder for CSVs and pictures; None for none.

    Returns:
        by, budget (a line an action and unit), bins, agreement (or None), files (written) and notes.

    Raises:
        OptionError: impossible options.
        DataError: a file cannot be used, or there is nothing in common with `against`.
        StoreError: `out` cannot be written.
    """
    for name, value in (("bin", bin), ("step", step)):
        if value is not None and not 0.001 <= value < math.inf:
            raise OptionError(f"expected a {name} of at least 0.001 seconds, found {value:g}")
    if by is not None and by not in BY:
        raise OptionError(f"expected a time budget by subject or video, found '{by}'")
    found = _named(gather(files, videos, fps, "keep"))
    if not found.segments and not found.films:
        raise DataError(f"{', '.join(map(str, files))}: no segment and no video to sum up")
    by = by or ("subject" if any(one.subject for one in found.segments) else "video")
    units, notes = budget.units(found.segments, found.films, by)
    lines = budget.budget(units)
    parts = budget.bins(units, bin) if bin else []
    agreed = None
    if against:
        human = _named(gather(against, videos, fps, "keep"))
        agreed = _compared(found, human, step, notes)
        labels = alike(one.label for one in (*found.segments, *human.segments))
        notes += [note for note in labels if note not in found.notes]
    texts = {"budget.csv": budget.as_csv(lines, by)}
    if bin:
        texts["bins.csv"] = budget.bins_as_csv(parts, by)
    if agreed is not None:
        texts |= _agreement_files(agreed)
    columns = (by, "start", "end", "action", "bouts_begun", "total", "share")
    written = [] if out is None else _write(out, texts, units, bin, agreed, notes)
    return {
        "by": by,
        "budget": [asdict(line) for line in lines],
        "bins": [dict(zip(columns, row, strict=True)) for row in parts],
        "agreement": None if agreed is None else _plain(agreed),
        "files": written,
        "notes": [*found.notes, *notes],
    }


def _named(found: Found) -> Found:
    """Segments with the names of their videos in place of paths: two people's files may lie in two folders."""
    names = {
        path: UPLOADED.sub("", PureWindowsPath(local(path)).name)
        for path in dict.fromkeys([*found.films, *(one.path for one in found.segments)])
    }
    if len(set(names.values())) < len(names):
        names = {path: path for path in names}
    films: dict[str, Film] = {names[path]: film for path, film in found.films.items()}
    return replace(found, segments=[replace(one, path=names[one.path]) for one in found.segments], films=films)


def _compared(found: Found, human: Found, step: float, notes: list[str]) -> Agreement:
    """The agreement over the videos of both."""
    mine = dict.fromkeys([*found.films, *(one.path for one in found.segments)])
    theirs = dict.fromkeys([*human.films, *(one.path for one in human.segments)])
    common = [name for name in mine if name in theirs]
    if not common:
        raise DataError(
            f"no video in common with the annotator: {_few(mine)} here, {_few(theirs)} there; names of files must match"
        )
    if alone := len(mine) + len(theirs) - 2 * len(common):
        notes.append(f"{alone:,} {'video is' if alone == 1 else 'videos are'} in one of the two only: not compared")
    lengths = {}
    for name in common:
        known = found.films.get(name, Film()).seconds or human.films.get(name, Film()).seconds
        ends = [one.end or 0.0 for side in (found, human) for one in side.segments if one.path == name]
        lengths[name] = known or max(ends, default=0.0)
    notes.extend(f"annotator: {note}" for note in human.notes)
    sides = [list(human.segments), list(found.segments)]
    if all(any(one.subject for one in side) for side in sides):  # each subject of a video by itself
        sides = [[replace(one, path=f"{one.path}: {one.subject}") for one in side] for side in sides]
        names = {one.path: one.path.removesuffix(f": {one.subject}") for side in sides for one in side}
        lengths = {name: lengths[video] for name, video in names.items() if video in lengths}
    return replace(compare(sides[0], sides[1], lengths, step), videos=len(common))


def _few(names: Sequence[str] | dict[str, None]) -> str:
    every = list(names)
    return ", ".join(every[:3]) + (f" and {len(every) - 3} more" if len(every) > 3 else "")


def _agreement_files(agreed: Agreement) -> dict[str, str]:
    rows = [
        (one.action, one.human, one.other, one.both, f"{one.f1:.4f}", "" if one.kappa is None else f"{one.kappa:.4f}")
        for one in agreed.actions
    ]
    confusion = [
        (label, *(f"{value:.3f}" for value in row)) for label, row in zip(agreed.labels, agreed.seconds, strict=True)
    ]
    return {
        "agreement.csv": budget.table(("action", "annotator", "compared", "both", "f1_at_0.5", "kappa"), rows),
        "confusion.csv": budget.table(("annotator \\ compared, seconds", *agreed.labels), confusion),
    }


def _write(
    out: Path, texts: dict[str, str], units: Sequence[budget.Unit], bin: float | None, agreed: Agreement | None,
    notes: list[str],
) -> list[str]:  # fmt: skip
    """Writes tables and pictures into a folder."""
    from kshot import fonts
    from kshot.report import budget_plots, plots

    pictures = {"budget": lambda: budget_plots.shares(units), "bouts": lambda: budget_plots.bouts(units)}
    if bin:
        pictures["bins"] = lambda: budget_plots.over_time(units, bin)
    if agreed is not None:
        pictures["confusion"] = lambda: budget_plots.confusion(agreed)
    files = {name: text.encode() for name, text in texts.items()}
    missing = ""
    for name, draw in pictures.items():
        svg, png, lacking = plots.render(draw)
        files |= {f"{name}.svg": svg, f"{name}.png": png}
        missing += lacking
    if missing:
        notes.append(fonts.advice("".join(dict.fromkeys(missing))))
    with locked(out), disk(out):
        for name, data in files.items():
            write_atomic(out / name, data)
    return [str(out / name) for name in files]


def _plain(agreed: Agreement) -> dict[str, Any]:
    return {
        "kappa": agreed.kappa,
        "same": agreed.same,
        "videos": agreed.videos,
        "actions": [asdict(one) | {"f1": one.f1} for one in agreed.actions],
        "labels": list(agreed.labels),
        "seconds": agreed.seconds.tolist(),
    }
