"""Study folders as `kshot study` leaves them, with invented episodes, so that reports can be tested in seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

import kshot
from kshot.fewshot.intervals import interval
from kshot.fewshot.result import Result, machine
from kshot.study.file import Row, Study
from kshot.study.results import RowResult
from kshot.study.summary import contrasts, summarise

CLASSES = ("bow", "climb", "sit down", "stand up", "wave", "walk <slowly> & $stop$")


def write(
    folder: Path,
    study: Study,
    skill: Callable[[Row, str, int], float],
    cost: Callable[[Row], tuple[int, float]] = lambda row: (0, 0.0),
    failed: Callable[[Row, int], str] = lambda row, seed: "",
    classes: Sequence[str] = CLASSES,
    unreadable: dict[str, str] | None = None,
    costs: Callable[[Row, int], dict[str, Any]] | None = None,
    steps: Callable[[Row, int], int | None] = lambda row, seed: None,
) -> dict[str, Any]:
    """Writes study.json and every row; `skill` is the chance (0 to 1) that a row is right, by row, data and shot.

    Rows of a seed face the same luck, as they would on the same episodes. `cost` gives weights and seconds, `failed`
    the reason why a row failed, or "". `costs` gives further costs by row and shot; studies of older versions have
    none. `steps` gives the step whose weights were kept, by row and seed: with 0, a row is as the baseline.
    Returns what study.json holds.
    """
    study = replace(study, backbone=study.backbone or ("kshot-tiny",))
    rows: list[dict[str, Any]] = []
    for d, data in enumerate(study.data):
        for b, backbone in enumerate(study.backbone):
            for seed in study.every_seed:
                for r, row in enumerate(study.rows):
                    if seed not in study.seeds_of(row.name):
                        continue
                    where = f"rows/{d}-{b}-{r}-{seed}"
                    record: dict[str, Any] = {"data": data, "backbone": backbone, "seed": seed, **asdict(row)}
                    if reason := failed(row, seed):
                        record["error"] = reason
                    else:
                        weights, seconds = cost(row)
                        record |= {"results": {}, "training_seconds": seconds, "trained_parameters": weights}
                        for shot in study.shots:
                            luck = np.random.default_rng([seed, shot, d, b])
                            step = steps(row, seed)
                            like = next((r for r in study.rows if r.name == study.baseline), row) if step == 0 else row
                            result = _result(
                                study, row, data, backbone, seed, shot, skill(like, data, shot), luck, classes
                            )
                            result.unreadable = unreadable or {}
                            (folder / where).mkdir(parents=True, exist_ok=True)
                            result.save(folder / where / f"{shot}-shot.json")
                            short = result.summary()
                            kept = ("accuracy", "ci95", "episodes", "per_class", "confusion")
                            if costs is not None:
                                record.setdefault("costs", {})[str(shot)] = costs(row, shot)
                            record["results"][str(shot)] = {key: short[key] for key in kept} | {"best_step": step}
                        record |= {"head": row.head or "prototype", "clips": 20 * len(classes), "fingerprint": "f" * 64}
                        record |= {"evaluation_seconds": 1.0, "val_accuracy": 50.0 if weights else None}
                    rows.append(record | {"folder": where})
    parsed = [RowResult.parse(row, "row.json") for row in rows]
    report = {
        "title": study.title,
        "version": kshot.__version__,
        "date": "2026-11-22",
        "settings": json.loads(json.dumps(asdict(study))),
        "machine": machine(),
        "rows": rows,
        "summary": [line.model_dump(exclude_unset=True) for line in summarise(folder, parsed, study.baseline)],
        "comparisons": [one.model_dump(exclude_unset=True) for one in contrasts(folder, parsed, study)],
    }
    (folder / "study.json").write_text(json.dumps(report))
    loaded: dict[str, Any] = json.loads((folder / "study.json").read_text())
    return loaded


def _result(
    study: Study,
    row: Row,
    data: str,
    backbone: str,
    seed: int,
    shot: int,
    skill: float,
    luck: np.random.Generator,
    classes: Sequence[str],
) -> Result:
    count = min(study.episodes, row.episodes or study.episodes)
    asked = study.way * study.query
    right = luck.random((study.episodes, asked))[:count] < skill  # the same draws for every row of a seed
    accuracy = right.mean(1) * 100
    spread = np.linspace(-0.2, 0.2, len(classes))
    per_class = {name: float(np.clip(100 * (skill + s), 0, 100)) for name, s in zip(classes, spread, strict=True)}
    confusion: dict[str, dict[str, float]] = {}
    for place, name in enumerate(classes):  # a third of the errors go to the next class, the rest is spread
        wrong = 100 - per_class[name]
        others = [other for other in classes if other != name]
        confusion[name] = {other: wrong * 2 / 3 / len(others) for other in others} | {name: per_class[name]}
        confusion[name][classes[(place + 1) % len(classes)]] += wrong / 3
    return Result(
        accuracy=float(accuracy.mean()), ci95=interval(accuracy) if count > 1 else None,
        episodes=count, way=study.way, shot=shot,
        query=study.query, seed=seed, split=study.split, head=row.head or "prototype", strategy=row.strategy,
        backbone=backbone, data=data, clips=20 * len(classes), per_class=per_class, confusion=confusion,
        fingerprint="f" * 64, seconds=1.0, version=kshot.__version__, episode_accuracy=accuracy,
    )  # fmt: skip
