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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import kshot
from kshot import datasets, processes, seals
from kshot.backbones import backbone as backbones
from kshot.backbones.backbone import Backbone
from kshot.datasets import Dataset
from kshot.errors import DataError, KshotError, NotEnoughClips
from kshot.fewshot import cost, runs
from kshot.fewshot.evaluation import evaluate, sampler_of
from kshot.fewshot.ready import without_sight
from kshot.fewshot.result import Costs, Result, machine
from kshot.fewshot.strategies import get_strategy
from kshot.fewshot.training import train
from kshot.files import LOCK, disk, locked, write_atomic
from kshot.names import folder_name
from kshot.progress import Progress, quiet
from kshot.settings import DTYPES, Arithmetic, EpisodeRules, Evaluating, Method, Testing, View
from kshot.study.file import Row, Study, planned
from kshot.study.grid import Cell, Grid
from kshot.study.jobs import Setup, side_by_side
from kshot.study.results import Outcome, RowResult, Search, StudyResult, Tried
from kshot.study.sharing import Sharing, parts
from kshot.study.summary import contrasts, summarise
from kshot.study.tables import as_csv, as_markdown


@processes.joined
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
    **settings: Any,
) -> StudyResult:
    """Runs what is not finished of a study and returns what `DIR/study.json` holds.

    Processes that were started together (see `kshot.processes`) run the rows in turn, and the first writes the tables.

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
        settings: device, precision, encoder and dtype, as in `kshot.extract`; jobs, shard and merge, see
            `kshot.study.sharing`. A shard writes no tables: the study returned has its rows alone.

    Raises:
        KshotError: the study cannot start as asked; failures of single rows are recorded instead.
        DataError: with `merge`: names the rows that are not there.
    """
    sharing = Sharing.of(settings)
    computing = {name: value for name, value in settings.items() if name not in Sharing.names()}
    dtype = computing.pop("dtype", DTYPES[0])
    how, progress = Arithmetic(**computing), progress if processes.first() else quiet
    processes.expect_device(how.device)
    plan = planned(study, protocol, seeds, episodes)
    plan = replace(plan, keep_copies=plan.keep_copies or keep_copies)
    if (file := plan.texts if texts is None else texts) is not None:
        plan = replace(plan, texts=str(file))
    folder = Path(out)
    with _held(folder, sharing):
        grid = Grid.of(plan, folder, data, backbone, dtype)
        grid.expect_folder()
        mine = _share(grid, sharing)
        if not sharing.merge:
            processes.expect_same(study=grid.said, sharing=sharing.values())
            running = Running(grid, store, how, progress)
            with processes.first_before_others():
                _begin(running, mine)
            _run_all(running, mine, sharing)
        if sharing.shard is not None:
            return _result(grid, [cell for part in mine for cell in part])
        processes.meet()
        return processes.from_first(lambda: _write(folder, _result(grid, grid.cells)))


@contextmanager
def _held(folder: Path, sharing: Sharing) -> Iterator[None]:
    """Holds a study's folder for this process, or the place in it of who runs a shard; rows have locks of their own."""
    if not processes.first():
        yield
        return
    share = sharing.share()
    with locked(folder, LOCK if sharing.shard is None else f"{LOCK}-{share.number}-of-{share.of}"):
        yield


def _share(grid: Grid, sharing: Sharing) -> Sequence[list[Cell]]:
    """The parts of a grid that this process sees to."""
    return processes.dealt(sharing.share().part(parts(grid.plan, grid.cells)))


def _begin(running: Running, mine: Sequence[Sequence[Cell]]) -> None:
    """Loads all that is still needed before anything is written or run: a wrong name is told now, not in hours."""
    todo = [cell for part in mine for cell in part if cell.finished() is None]
    _expect_drawable(running.grid.plan, {cell.data: running.data(cell.data) for cell in todo})
    for cell in todo:
        running.backbone(cell.backbone)
    running.grid.begin()


def _run_all(running: Running, mine: Sequence[Sequence[Cell]], sharing: Sharing) -> None:
    """Runs the cells of parts that are not finished: in the grid's order, or parts side by side."""
    places = {cell.where for part in mine for cell in part}
    cells = [cell for cell in running.grid.cells if cell.where in places]
    shared = processes.world() > 1 or sharing.shard is not None
    beside = processes.apart() if shared else nullcontext()
    with running.progress(running.grid.plan.title, len(cells), "rows") as step, beside:
        if sharing.jobs > 1:
            todo = [part for part in mine if any(cell.finished() is None for cell in part)]
            step(len(cells) - sum(map(len, todo)))
            store = None if running.store is None else str(running.store)
            side_by_side(Setup(running.grid, store, running.how.values()), todo, sharing.jobs, step)
            return
        for cell in cells:
            if cell.finished() is None:
                step(0, cell.row.name)
            running.row(cell)
            step()


def _result(grid: Grid, cells: Sequence[Cell]) -> StudyResult:
    """What came of cells of a grid.

    Raises:
        DataError: some have not been run; names them.
    """
    rows, lacking = [], []
    for cell in cells:
        if (record := cell.recorded()) is None:
            lacking.append(f"'{cell.row.name}' with seed {cell.seed} on {cell.data}, {cell.backbone}")
            continue
        record.folder = cell.where.relative_to(grid.folder).as_posix()
        rows.append(record)
    if lacking:
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        raise DataError(
            f"{grid.folder} lacks {len(lacking)} of {len(cells)} rows: {'; '.join(lacking[:5])}{more}: run the shards "
            f"that they are of (finished rows are not run again), then --merge"
        )
    return StudyResult(
        title=grid.plan.title,
        version=kshot.__version__,
        date=datetime.date.today().isoformat(),
        settings=grid.settings,
        machine=machine(),
        rows=rows,
        summary=summarise(grid.folder, rows, grid.plan.baseline),
        comparisons=contrasts(grid.folder, rows, grid.plan),
    )


def _write(folder: Path, report: StudyResult) -> StudyResult:
    """Writes the study's tables, and study.json last; returns the study."""
    with disk(folder):
        write_atomic(folder / "table.md", as_markdown(report).encode())
        write_atomic(folder / "table.csv", as_csv(report).encode())
        about = seals.sealed(report.plain(), folder, ("table.md", "table.csv"))
        write_atomic(folder / "study.json", json.dumps(about, indent=1).encode())
    return report


@dataclass
class Running:
    """Runs cells of a grid, and keeps what several of them need.

    Attributes:
        grid: of the study.
        store: as in `kshot.extract`.
        how: device, precision and encoder.
        progress: how to show progress of the row at work.
    """

    grid: Grid
    store: str | Path | None
    how: Arithmetic
    progress: Progress = quiet
    _data: dict[str, Dataset] = field(default_factory=dict)
    _backbones: dict[str, Backbone] = field(default_factory=dict)
    _found: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = field(default_factory=dict)

    def data(self, name: str) -> Dataset:
        """A data set of the grid, loaded once."""
        if name not in self._data:
            self._data[name] = datasets.load(self.grid.sets[name])
        return self._data[name]

    def backbone(self, name: str) -> Backbone:
        """A backbone of the grid, loaded once."""
        if name not in self._backbones:
            self._backbones[name] = backbones.loaded(self.grid.backbones[name], self.how)
        return self._backbones[name]

    def row(self, cell: Cell) -> None:
        """Runs a cell unless it is finished, and writes its record; notes what its search chose, for other seeds.

        Raises:
            StoreError: another process is running it.
        """
        plan, key = self.grid.plan, (cell.data, cell.backbone, cell.row.name)
        record = cell.finished()
        if record is None:
            with locked(cell.where):
                record = RowResult(**asdict(cell.row) | cell.own)
                data, backbone = self.data(cell.data), self.backbone(cell.backbone)
                task = _Task(plan, cell.row, cell.seed, cell.where, self.store, self.grid.dtype, self.progress)
                try:
                    _run_row(task, record, data, backbone, self._found.get(key))
                except KshotError as error:
                    record = RowResult(**asdict(cell.row) | cell.own, error=str(error))
                _save(cell.where, record)
        if record.searched is not None:  # what the first seed's search chose, by shot
            self._found.setdefault(key, _choices(record, record.searched, plan.shots))


@dataclass(frozen=True)
class _Task:
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


def _run_row(
    cell: _Task, record: RowResult, data: Dataset, backbone: Backbone, found: Mapping[int, dict[str, Any]] | None
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
            progress=cell.progress, store=cell.store, **without_sight(data, asked | {"dtype": cell.dtype}),
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


def _train(cell: _Task, data: Dataset, backbone: Backbone, shot: int, chosen: Mapping[str, Any]) -> runs.Run:
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
        **without_sight(data, own),
    )  # fmt: skip
    return runs.read_run(folder)


def training_settings(plan: Study, row: Row, shot: int) -> dict[str, Any]:
    """Settings of `kshot.train` that a row's training for a shot is given, by the study and by the row."""
    shared = {name: getattr(plan, name) for name in (*View.names(), *EpisodeRules.names())}
    if plan.protocol:  # it may train with another number of queries than it tests with
        del shared["query"]
    method = {name: getattr(row, name) for name in Method.names()}
    return {**method, **shared, "shot": row.train_shot or shot, **plan.train, **row.train}


def _search(cell: _Task, data: Dataset, backbone: Backbone, shot: int, values: Mapping[str, Sequence[Any]]) -> Search:
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
