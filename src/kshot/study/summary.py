"""A study's summary: each method at each shot, over its seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kshot import seals
from kshot.errors import DataError
from kshot.fewshot import cost
from kshot.gate import inside
from kshot.study.estimates import changed, difference, estimate, holm, kept_start, learns
from kshot.study.file import Study
from kshot.study.results import Contrast, Line, RowResult, StudyResult


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
            line.chosen = _chosen(good, shot)
            if first.val_episodes is not None:
                line.val_episodes = first.val_episodes
            lines.append(line)
        if not good:
            lines.append(Line(data=data, backbone=backbone, name=name, error=mine[0].error))
    return lines


def _chosen(rows: Sequence[RowResult], shot: str) -> str:
    """What a search chose, in words."""
    found = next((one for row in rows if (one := row.searches.get(shot) or row.searched) is not None), None)
    if found is not None and not any(one.best_step for one in found.tried):
        return "none"
    chosen = found.chosen if found is not None else rows[0].chosen
    return ", ".join(f"{k} {v}" for k, v in (chosen or {}).items())


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
    every, kept = [_read(folder, shot)(row) for row in rows], [kept_start(row, shot) for row in rows]
    found = estimate(every, [changed(row, shot) for row in rows], learns(rows[0]))
    line.accuracy, line.ci95, line.over, line.estimand = found.mean, found.ci95, found.over, found.estimand
    line.episodes, line.kept = len(every[0]), None if None in kept else kept.count(True)
    others = [row for row in against.values() if row.name != rows[0].name]
    if pair := difference(rows, others, shot, _read(folder, shot)):
        found, differences, line.agree = pair
        line.difference, line.difference_ci95 = found.mean, found.ci95
        line.difference_over, line.difference_estimand = found.over, found.estimand
        line.paired = len(differences)


def _read(folder: Path, shot: str) -> Callable[[RowResult], NDArray[np.float64]]:
    return lambda row: row.result(folder, shot).episode_accuracy


def contrasts(folder: Path, rows: Sequence[RowResult], study: Study) -> list[Contrast]:
    """What came of the comparisons that a study declares, for each data set and backbone.

    Holm's correction is made within those of one data set and backbone; one that could not be made counts in it, too.

    Args:
        folder: the study's, in which the rows' result files are.
        rows: of the study.
        study: its settings.
    """
    made = []
    for data, backbone in dict.fromkeys((row.data, row.backbone) for row in rows):
        here = [row for row in rows if (row.data, row.backbone) == (data, backbone) and not row.error]
        family = [
            _contrast(folder, here, Contrast(data=data, backbone=backbone, name=c.name, of=c.of, to=c.to, shot=shot))
            for c in study.compare
            for shot in c.shots or study.shots
        ]
        corrected = holm([math.nan if one.p is None else one.p for one in family])
        for one, p in zip(family, corrected, strict=True):
            one.holm = None if math.isnan(p) else p
        made += family
    return made


def _contrast(folder: Path, rows: Sequence[RowResult], into: Contrast) -> Contrast:
    """A comparison with its figures, where a seed finished both of its rows."""
    shot = str(into.shot)
    of, to = ({row.seed: row for row in rows if row.name == name} for name in (into.of, into.to))
    if pair := difference(list(of.values()), list(to.values()), shot, _read(folder, shot)):
        found, every, into.agree = pair
        into.difference, into.over, into.estimand = found.mean, found.over, found.estimand
        into.ci95, into.p = (None if math.isnan(value) else value for value in (found.ci95, found.p))
        into.paired, into.episodes = len(every), len(next(iter(every.values())))
        into.kept = sum(not changed(of[seed], shot) and not changed(to[seed], shot) for seed in every)
    return into


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
