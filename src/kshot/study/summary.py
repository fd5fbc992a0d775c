"""A study's summary: each method at each shot, over its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kshot import seals
from kshot.errors import DataError
from kshot.fewshot import cost
from kshot.fewshot.intervals import interval
from kshot.gate import inside
from kshot.study.results import Line, RowResult, StudyResult


def summarise(folder: Path, rows: Sequence[RowResult], baseline: str) -> list[Line]:
    """One line for each data set, backbone, method and shot, over its seeds.

    Args:
        folder: the study's, in which the rows' result files are.
        rows: of the study.
        baseline: the method that others are compared to; "" for none.
    """
    lines = []
    for data, backbone, name in dict.fromkeys(_key(row) for row in rows):
        mine = [row for row in rows if _key(row) == (data, backbone, name)]
        good = [row for row in mine if not row.error]
        against = {row.seed: row for row in rows if _key(row) == (data, backbone, baseline) and not row.error}
        for shot in dict.fromkeys(shot for row in good for shot in row.results):
            first = good[0]
            line = Line(data=data, backbone=backbone, name=name, shot=int(shot), seeds=len(good))
            _over_seeds(line, folder, good, against, shot)
            alone = [found.accuracy for row in good if (found := row.results[shot].text_alone) is not None]
            if alone:
                line.text_alone = float(np.mean(alone))
            _mean_costs(line, good, shot)
            line.strategy, line.tuning, line.layers, line.head = first.strategy, first.tuning, first.layers, first.head
            line.missing = len({clip for row in good for clip in row.missing})
            line.chosen = ", ".join(f"{k} {v}" for k, v in (first.chosen or {}).items())
            lines.append(line)
        if not good:
            lines.append(Line(data=data, backbone=backbone, name=name, error=mine[0].error))
    return lines


def _key(row: RowResult | Line) -> tuple[str, str, str]:
    return row.data, row.backbone, row.name


def _mean_costs(line: Line, rows: Sequence[RowResult], shot: str) -> None:
    """The costs of a method at a shot, over its seeds: means, None where a row of an older version does not tell."""
    for key in (*cost.COLUMNS, "extraction_seconds"):
        values = [_cost(row, shot, key) for row in rows]
        known = [value for value in values if value is not None]
        setattr(line, key, float(np.mean(known)) if len(known) == len(values) else None)
    for key in ("device", "precision", "encoder"):
        setattr(line, key, _cost(rows[0], shot, key))


def _cost(row: RowResult, shot: str, key: str) -> Any:
    """A cost of a row at a shot; that of the row where the shot has none of its own."""
    own = row.costs.get(shot)
    return getattr(own if own is not None and key in own.model_fields_set else row, key)


def _over_seeds(line: Line, folder: Path, rows: Sequence[RowResult], against: dict[int, RowResult], shot: str) -> None:
    """Accuracy, and the difference to the baseline on the same episodes."""
    values: list[NDArray[np.float64]] = []
    differences: list[NDArray[np.float64]] = []
    for row in rows:
        mine = row.result(folder, shot).episode_accuracy
        values.append(mine)
        base = against.get(row.seed)
        if base is not None and base.name != row.name:
            other = base.result(folder, shot).episode_accuracy
            count = min(len(mine), len(other))
            differences.append(mine[:count] - other[:count])
    every = np.concatenate(values)
    line.accuracy, line.ci95, line.episodes = float(every.mean()), interval(every), len(values[0])
    if differences:
        joined = np.concatenate(differences)
        line.difference, line.difference_ci95 = float(joined.mean()), interval(joined)
        line.agree = sum(int(np.sign(one.mean()) == np.sign(line.difference)) for one in differences)


def load_study(folder: str | Path) -> StudyResult:
    """What `kshot study` wrote to a folder.

    Raises:
        DataError: no finished study there, or a damaged one.
    """
    path = Path(folder) / "study.json"
    if not path.exists():
        raise DataError(f"{folder} holds no finished study: expected study.json, as `kshot study` writes")
    report = StudyResult.parse(seals.read_sealed(path, again="run the study again, finished rows are kept"), path)
    for row in report.rows:
        inside(Path(folder), row.folder)
    if not _agrees(report):
        raise DataError(
            f"{path} is damaged: its summary is not of its rows; run the study again, finished rows are kept"
        )
    return report


def _agrees(report: StudyResult) -> bool:
    """Whether every finished row has all the shots, and the summary a line for each of them and for nothing else."""
    shots = set(report.settings.shots)
    finished = [row for row in report.rows if not row.error]
    if any({int(shot) for shot in row.results} != shots for row in finished):
        return False
    keys, done = {_key(row) for row in report.rows}, {_key(row) for row in finished}
    scored = [line for line in report.summary if line.shot is not None]
    at_all_shots = all({line.shot for line in scored if _key(line) == key} == shots for key in done)
    return at_all_shots and {_key(line) for line in scored} == done and {_key(line) for line in report.summary} == keys
