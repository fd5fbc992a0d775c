"""A study: a grid of data x backbone x row x seed, each row a strategy, tuning and head, at several shots.

    DIR/study.json                the settings, and every finished row with its cost
    DIR/rows/<id>/row.json        one row: finished, or failed with its reason; written last
    DIR/rows/<id>/run/            its run folder, where something was trained
    DIR/rows/<id>/<k>-shot.json   its results, every episode included
    DIR/table.csv, table.md       the summary over seeds

Rows share stores, finished rows are never run again, and one row's failure does not stop the others. Comparison is
paired: every row of a seed is scored on the same episodes.
"""

from __future__ import annotations

import datetime
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import kshot
from kshot import datasets, seals
from kshot.activations.default import default_backbone, noted
from kshot.backbones import backbone as backbones
from kshot.backbones.backbone import Backbone
from kshot.datasets import Dataset
from kshot.datasets.texts import read_texts
from kshot.errors import DataError, KshotError, NotEnoughClips, OptionError
from kshot.fewshot import cost, runs
from kshot.fewshot.evaluation import evaluate, sampler_of
from kshot.fewshot.result import Costs, Result, machine
from kshot.fewshot.strategies import get_strategy
from kshot.fewshot.training import train
from kshot.files import alone, disk, occupied, write_atomic
from kshot.names import folder_name, folder_names
from kshot.progress import Progress, quiet
from kshot.settings import FRAMES, Arithmetic, EpisodeRules, Evaluating, Method, Testing, View
from kshot.study.file import Row, Study, planned
from kshot.study.results import Outcome, RowResult, Search, StudyResult, Tried
from kshot.study.summary import contrasts, summarise
from kshot.study.tables import as_csv, as_markdown

Named = TypeVar("Named", Dataset, Backbone)


@alone("out")
def run(
    study: str | Path | Study,
    out: str | Path,
    data: Sequence[str | Dataset] = (),
    backbone: Sequence[str | Backbone] = (),
    seeds: Sequence[int] = (),
    episodes: int | None = None,
    protocol: str | None = None,
    store: str | Path | None = None,
    progress: Progress = quiet,
    keep_copies: bool = False,
    texts: str | Path | None = None,
    dtype: str = "float16",
    **computing: str,
) -> StudyResult:
    """Runs what is not finished of a study and returns what `DIR/study.json` holds.

    Args:
        study: a name, file or Study.
        out: the study's folder, DIR.
        data: data sets in place of the study's own, if any.
        backbone: backbones in place of the study's own, if any. Where neither names one, those that a study in `out`
            was begun with, else the default of the data, see `default_backbone` in `kshot.activations.default`.
        seeds: in place of the study's own, if any.
        episodes: in place of the study's own.
        protocol: in place of the study's own; see `read`.
        store: as in `kshot.extract`.
        progress: how to show progress, of the whole grid and of the row at work.
        keep_copies: keep them although the study does not say so; see `kshot.activations.copies`.
        texts: a file of class texts in place of the study's own, if any; see `kshot.datasets.texts`.
        dtype: how activations are stored, as in `kshot.extract`.
        computing: device, precision and encoder, as in `kshot.extract`.

    Raises:
        KshotError: the study cannot start as asked; failures of single rows are recorded instead.
    """
    plan = planned(study, protocol, seeds, episodes)
    plan = replace(plan, keep_copies=plan.keep_copies or keep_copies)
    if (file := plan.texts if texts is None else texts) is not None:
        plan = replace(plan, texts=str(file))
    folder = Path(out)
    sets = by_name(data or plan.data, "data set")
    backbones_named = by_name(backbone or plan.backbone or _recorded(folder), "backbone")
    if not backbones_named:
        sets, backbones_named = _by_data(sets)
    settings = replace(plan, data=tuple(sets), backbone=tuple(backbones_named), frames=plan.frames or FRAMES)
    said = json.loads(json.dumps(asdict(settings) | _texts(settings) | {"dtype": dtype}))
    _refuse_other(folder, said)
    cells = itertools.product(sets.items(), backbones_named.items(), plan.every_seed, plan.rows)
    grid = [cell for cell in cells if cell[2] in plan.seeds_of(cell[3].name)]
    whose: list[dict[str, Any]] = [
        {"data": d, "backbone": b, "seed": seed, "name": row.name} for (d, _), (b, _), seed, row in grid
    ]
    places = _places(folder, whose)
    todo = [c for c, at, own in zip(grid, places, whose, strict=True) if _finished(at / "row.json", own) is None]
    # All that is still needed is loaded before anything is written or run: a wrong name is told now, not in hours.
    datas = {name: datasets.load(source) for name, source in dict(cell[0] for cell in todo).items()}
    _expect_drawable(plan, datas)
    how = Arithmetic(**computing)
    backbones_of = {name: backbones.loaded(source, how) for name, source in dict(cell[1] for cell in todo).items()}
    with disk(folder):
        write_atomic(folder / "settings.json", json.dumps(seals.sealed(said), indent=1).encode())
    rows: list[RowResult] = []
    found: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = {}  # what the first seed's search chose, by shot
    with progress(plan.title, len(grid), "rows") as step:
        for ((data_name, _), (backbone_name, _), seed, row), where, own in zip(grid, places, whose, strict=True):
            record = _finished(where / "row.json", own)
            if record is None:
                step(0, row.name)
                cell = _Cell(plan, row, seed, where, store, dtype, progress)
                record = RowResult(**asdict(row) | own)
                searched = found.get((data_name, backbone_name, row.name))
                try:
                    _run_row(cell, record, datas[data_name], backbones_of[backbone_name], searched)
                except KshotError as error:
                    record = RowResult(**asdict(row) | own, error=str(error))
                _save(where, record)
            if record.searched is not None:
                found.setdefault((data_name, backbone_name, row.name), _choices(record, record.searched, plan.shots))
            record.folder = where.relative_to(folder).as_posix()
            rows.append(record)
            step()
    report = StudyResult(
        title=plan.title,
        version=kshot.__version__,
        date=datetime.date.today().isoformat(),
        settings=settings,
        machine=machine(),
        rows=rows,
        summary=summarise(folder, rows, plan.baseline),
        comparisons=contrasts(folder, rows, plan),
    )
    _write(folder, report)
    return report


def _write(folder: Path, report: StudyResult) -> None:
    """The study's tables, and study.json last."""
    with disk(folder):
        write_atomic(folder / "table.md", as_markdown(report).encode())
        write_atomic(folder / "table.csv", as_csv(report).encode())
        about = seals.sealed(report.plain(), folder, ("table.md", "table.csv"))
        write_atomic(folder / "study.json", json.dumps(about, indent=1).encode())


@dataclass(frozen=True)
class _Cell:
    """A row of a study with one seed, and the folder that it writes."""

    plan: Study
    row: Row
    seed: int
    where: Path
    store: str | Path | None
    dtype: str
    progress: Progress


def _save(where: Path, record: RowResult) -> None:
    with disk(where):
        where.mkdir(parents=True, exist_ok=True)
        about = seals.sealed(record.plain(), where, [f"{shot}-shot.json" for shot in record.results])
        write_atomic(where / "row.json", json.dumps(about, indent=1).encode())
    record.files = about["files"]


def _choices(record: RowResult, first: Search, shots: Sequence[int]) -> dict[int, dict[str, Any]]:
    """What a row's search chose for each shot: at that shot, or at the first for all."""
    return {shot: record.searches.get(str(shot), first).chosen for shot in shots}


def _expect_drawable(plan: Study, sets: Mapping[str, Dataset]) -> None:
    """Refuses data of which the test episodes of a study cannot be drawn, before anything is trained for hours.

    Raises:
        DataError: no clips of the split, or too few of a class; names it.
    """
    for (name, data), shot in itertools.product(sets.items(), plan.shots):
        clips = data.select(plan.split)
        try:
            sampler_of(clips, Evaluating.of(vars(plan) | {"shot": shot, "seed": plan.seeds[0]}))
        except NotEnoughClips as error:
            raise NotEnoughClips(f"{name}: {error} (here keys of the study: shots, query, way)") from None


def by_name(things: Sequence[str | Named], kind: str) -> dict[str, str | Named]:
    """Data sets or backbones (`kind`), each by the name that tables call it.

    Raises:
        OptionError: two have one name, look alike, or are the same folder or file.
    """
    named: dict[str, str | Named] = {}
    real: dict[Path, str] = {}
    for thing in things:
        name = thing if isinstance(thing, str) else thing.name
        path = Path(name).resolve() if isinstance(thing, str) and Path(name).exists() else Path(name)
        if name in named or path in real:
            raise OptionError(
                f"a study has two of the {kind}s '{real.get(path, name)}' and '{name}', which would share one result: "
                f"name each once, and give what is loaded names that differ"
            )
        named[name], real[path] = thing, name
    return named


def _places(folder: Path, whose: Sequence[Mapping[str, Any]]) -> list[Path]:
    """The folder of each row: what an older version called it, where that holds this very row, else a name of its own.

    Older versions dropped what is no letter or digit of ASCII: rows whose names differed in nothing else shared one.
    """
    parts = [(own["data"], own["backbone"], own["name"], f"seed{own['seed']}") for own in whose]
    places = []
    for own, names, name in zip(whose, parts, folder_names(parts), strict=True):
        before = "-".join(re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in names)
        new, old = folder / "rows" / name, folder / "rows" / before
        places.append(old if not new.exists() and _finished(old / "row.json", own) else new)
    return places


def _run_row(
    cell: _Cell, record: RowResult, data: Dataset, backbone: Backbone, found: Mapping[int, dict[str, Any]] | None
) -> None:
    """Trains and evaluates a row, and takes down in `record` what came of it.

    Args:
        cell: the row, its seed and folder.
        record: with the row's settings.
        data: the data set.
        backbone: the backbone.
        found: what a search with another seed found, by shot; None to search, if the study asks for it.
    """
    plan, row = cell.plan, cell.row
    values = plan.search if row.search is None else row.search
    chosen: dict[str, Any] | None = None
    strategy = get_strategy(row.strategy, **row.strategy_options)
    learns = strategy.learns_from != "nothing"
    record.results, record.costs, record.training_seconds, record.trained_parameters = {}, {}, 0.0, 0
    for shot in plan.shots:
        adapted, trained = None, {}
        if learns:
            if found is not None:
                chosen = found[shot]
            elif values and (chosen is None or not row.train_shot):
                search = _search(cell, data, backbone, shot, values)
                chosen, record.searched = search.chosen, record.searched or search
                record.searches |= {} if row.train_shot else {str(shot): search}
            if chosen:
                record.chosen = record.chosen or chosen
            adapted = _train(cell, data, backbone, shot, chosen or {})
            trained = adapted.config["result"]
            for name in ("training_seconds", "trained_parameters", "val_accuracy", "best_step"):
                setattr(record, name, trained[name])
            if trained["val_accuracy"] is not None:
                record.val_episodes = adapted.config["val_episodes"]["episodes"]
        asked: Any = {name: getattr(plan, name) for name in (*View.names(), *EpisodeRules.names(), *Testing.names())}
        asked |= {"episodes": min(plan.episodes, row.episodes or plan.episodes), "shot": shot, "seed": cell.seed}
        asked |= {"head": row.head or (None if learns else strategy.default_head), "head_options": row.head_options}
        result = evaluate(
            data, backbone, adapted=adapted.folder if adapted else None, protocol=plan.protocol,
            progress=cell.progress, store=cell.store, dtype=cell.dtype, **asked,
        )  # fmt: skip
        result.strategy = row.strategy
        with disk(cell.where):
            cell.where.mkdir(parents=True, exist_ok=True)
            result.save(cell.where / f"{shot}-shot.json")
        _note(record, result, str(shot), trained)
    record.evaluation_seconds = round(sum(one.evaluation_seconds or 0.0 for one in record.costs.values()), 3)


def _note(record: RowResult, result: Result, shot: str, trained: Mapping[str, Any]) -> None:
    """Takes down what a row found at a shot."""
    record.costs[shot] = _costs(trained, result)
    record.missing = list(dict.fromkeys([*record.missing, *result.missing]))
    record.notes = list(dict.fromkeys([*record.notes, *result.notes, *trained.get("notes", [])]))
    record.unreadable = record.unreadable | result.unreadable
    record.damaged = list({one.clip: one for one in [*record.damaged, *result.damaged]}.values())
    record.results[shot] = Outcome(
        accuracy=result.accuracy,
        ci95=result.ci95,
        episodes=result.episodes,
        per_class=result.per_class,
        confusion=result.confusion,
        best_step=trained.get("best_step"),
    )
    if result.text_alone is not None:
        record.results[shot].text_alone = result.text_alone
    record.head, record.clips, record.fingerprint = result.head, result.clips, result.fingerprint


def _train(cell: _Cell, data: Dataset, backbone: Backbone, shot: int, chosen: Mapping[str, Any]) -> runs.Run:
    """A row's run for a shot, trained unless it is there already. chosen: settings in place of the study's."""
    row = cell.row
    parts = ["run", *([] if row.train_shot else [f"{shot}-shot"]), *(f"{k}-{v}" for k, v in chosen.items())]
    folder = cell.where / folder_name(*parts)
    own: Any = {
        **training_settings(cell.plan, row, shot),
        **chosen,
        "seed": cell.seed,
        "store": cell.store,
        "dtype": cell.dtype,
    }
    train(
        data, folder, backbone=backbone, protocol=cell.plan.protocol, resume=folder.exists(), progress=cell.progress,
        **own,
    )  # fmt: skip
    return runs.read_run(folder)


def training_settings(plan: Study, row: Row, shot: int) -> dict[str, Any]:
    """Settings of `kshot.train` that a row's training for a shot is given, by the study and by the row."""
    shared = {name: getattr(plan, name) for name in (*View.names(), *EpisodeRules.names())}
    if plan.protocol:  # it may train with another number of queries than it tests with
        del shared["query"]
    method = {name: getattr(row, name) for name in Method.names()}
    return {**method, **shared, "shot": row.train_shot or shot, **plan.train, **row.train}


def _search(cell: _Cell, data: Dataset, backbone: Backbone, shot: int, values: Mapping[str, Sequence[Any]]) -> Search:
    """Trains every combination of `values` and chooses by val accuracy; the first listed one wins a tie.

    Raises:
        DataError: the data has no val classes to choose on.
    """
    tried: list[Tried] = []
    for combination in itertools.product(*values.values()):
        arguments = dict(zip(values, combination, strict=True))
        result = _train(cell, data, backbone, shot, arguments).config["result"]
        if result["val_accuracy"] is None:
            raise DataError("a search chooses on val classes, and these data have none: give classes the split val")
        tried.append(
            Tried(
                arguments=arguments,
                val_accuracy=result["val_accuracy"],
                best_step=result["best_step"],
                seconds=result["training_seconds"],
            )
        )
    return Search(chosen=max(tried, key=lambda one: one.val_accuracy).arguments, seed=cell.seed, tried=tried)


def _costs(trained: Mapping[str, Any], result: Result) -> Costs:
    """What a row cost at a shot: of its run's `result`, empty where nothing was trained, and of its evaluation."""
    found: dict[str, Any] = dict.fromkeys((*cost.TRAINING, "extraction_seconds"), 0)
    if trained:
        found = {key: trained.get(key) for key in (*found, "stored_bytes", "peak_memory")}
    tested = result.cost.model_dump(exclude_unset=True)
    both = found | tested
    for key in ("stored_bytes", "peak_memory", "extraction_seconds"):
        values = [part[key] for part in (found, tested) if key in part]
        # Novel clips come on top of those trained on; any other split is among them, or they among it.
        join = max if key == "peak_memory" or (key == "stored_bytes" and result.split != "test") else sum
        both[key] = None if None in values else join(values)
    return Costs(**both)


def _by_data(sets: Mapping[str, str | Dataset]) -> tuple[dict[str, str | Dataset], dict[str, str | Backbone]]:
    """The data sets, loaded, and the backbone that they get where none is named."""
    loaded = {name: datasets.load(source) for name, source in sets.items()}
    chosen = default_backbone(*loaded.values())
    return {name: noted(one, chosen.notes) for name, one in loaded.items()}, {chosen.name: chosen.name}


def _recorded(folder: Path) -> list[str]:
    """The backbones of the study that a folder holds; none where it holds none, or one that cannot be read."""
    try:
        recorded = seals.read_sealed(folder / "settings.json").get("backbone", [])
    except DataError:
        return []
    return [str(name) for name in recorded] if isinstance(recorded, list) else []


def _texts(settings: Study) -> dict[str, Any]:
    """Which file of class texts a study reads, with its sha256: another content is another study."""
    return {"texts": None if settings.texts is None else read_texts(settings.texts).record()}


def _refuse_other(folder: Path, settings: dict[str, Any]) -> None:
    """Refuses a folder that holds something else, or a study with other settings."""
    path = folder / "settings.json"
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"--out {folder} is a file; name a folder")
    if occupied(folder) and not path.exists():
        raise OptionError(f"--out {folder} is not empty and holds no study; name another folder")
    if path.exists():
        again = "remove it and run the same command again, if the study's settings are the same"
        formerly = {
            "resize": "short",
            "keep_copies": False,
            "texts": None,
            "dtype": "float16",
        }  # once there was no other
        before = formerly | seals.read_sealed(path, OptionError, again)
        apart = ("title", "about", "compare", "rows", "seeds")  # words change no number; the others need a closer look
        changed = [name for name in settings if name not in apart and before.get(name) != settings[name]]
        (rows, seeds), (wanted, with_more) = _rows(before), _rows(settings)
        changed += ["rows"] * (rows != wanted)
        changed += ["seeds"] * any(with_more.get(name, [])[: len(some)] != some for name, some in seeds.items())
        if changed:
            raise OptionError(
                f"{folder} holds a study with other settings ({', '.join(changed)} differ); name another --out"
            )


def _rows(settings: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, list[int]]]:
    """The rows of a study's settings, with what older versions did not say; and the seeds of each: more may follow."""
    rows = [asdict(Row("")) | row for row in settings.get("rows", [])]
    seeds = {row["name"]: row["seeds"] or settings.get("seeds", []) for row in rows}
    return [row | {"seeds": ()} for row in rows], seeds


def _finished(path: Path, own: Mapping[str, Any]) -> RowResult | None:
    """A row's record, unless it is missing, torn, altered, of another row, or of a failure: then it is run again."""
    try:
        record = RowResult.parse(seals.read_sealed(path), path)
    except DataError:
        return None
    mine = all(getattr(record, key) == value for key, value in own.items())
    return record if mine and not record.error and not seals.faults(path.parent, record.files) else None
