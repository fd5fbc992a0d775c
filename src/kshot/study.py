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

import csv
import datetime
import inspect
import io
import itertools
import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import kshot
from kshot import backbone as backbones
from kshot import cost, datasets, heads, options, protocols, runs, tuning
from kshot.backbone import PROMPTS, Backbone
from kshot.datasets import SPLITS, Dataset
from kshot.errors import DataError, KshotError, OptionError, unknown
from kshot.evaluation import Result, evaluate, interval, machine
from kshot.fit import Schedule
from kshot.progress import Progress, quiet
from kshot.store import disk, write_atomic
from kshot.strategies import get_strategy
from kshot.training import train

Made = TypeVar("Made")
Named = TypeVar("Named", Dataset, Backbone)

OWN = {
    "data", "out", "strategy", "tuning", "layers", "backbone", "head", "shot", "strategy_options", "tuning_options",
    "head_options", "frames", "resize", "prompts", "protocol", "seed", "shared_group", "store", "device", "precision",
    "resume", "progress",
}  # fmt: skip
"""Arguments of `kshot.train` that a study sets from its own keys."""

SHIPPED = Path(__file__).parent / "studies"


@dataclass(frozen=True)
class Row:
    """One method of a study. In a file, lists in `tuning`, `layers` and `head` are crossed into several rows.

    name: what tables call it. strategy, tuning, layers, head: as in `kshot.train`. *_options: of each by name.
    train: further arguments of `kshot.train`. search: arguments with several values each, of which the best on val is
    kept; the study's own by default. episodes: test episodes where they differ from the study's, for strategies that
    learn inside each. train_shot: shot of training episodes, 0 for the same as at test.
    """

    name: str
    strategy: str = "frozen"
    tuning: str = "partial"
    layers: str | int | None = None
    head: str | None = None
    strategy_options: dict[str, Any] = field(default_factory=dict)
    tuning_options: dict[str, Any] = field(default_factory=dict)
    head_options: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    search: dict[str, list[Any]] | None = None
    episodes: int | None = None
    train_shot: int = 1


@dataclass(frozen=True)
class Study:
    """The settings of a study; see `read` for its file.

    search: values to try of arguments of `kshot.train`, in every row that trains, so that no row is better cared for
    than another: with the first seed each combination is trained, the one with the best val accuracy is used with
    every seed. Novel classes have no part in it.

    protocol: gives the arguments of training that neither `train` nor a row does; in a file also what the file leaves
    out of way, query, episodes, frames, resize, prompts, shared_group and center.
    """

    title: str
    rows: tuple[Row, ...]
    data: tuple[str, ...] = ("motion",)
    backbone: tuple[str, ...] = ("kshot-tiny",)
    shots: tuple[int, ...] = (1, 5)
    seeds: tuple[int, ...] = (0,)
    way: int = 5
    query: int = 5
    episodes: int = 10_000
    frames: int = 8
    resize: str = "short"
    protocol: str | None = None
    split: str = "test"
    baseline: str = ""
    shared_group: bool = True
    center: bool = False
    prompts: tuple[str, ...] = PROMPTS
    train: dict[str, Any] = field(default_factory=dict)
    search: dict[str, list[Any]] = field(default_factory=dict)
    about: str = ""


def read(source: str | Path, protocol: str | None = None) -> Study:
    """A study from a TOML file or by the name of one that ships ("quick", "paper", "heads").

    protocol: in place of the file's own. What the file says beats it.

    Raises:
        OptionError: no such study, a key that does not exist (with its line), or a value of the wrong kind.
    """
    path = Path(source)
    shipped = {file.stem: file for file in SHIPPED.glob("*.toml")}
    if str(source) in shipped:
        path = shipped[str(source)]
    elif not path.is_file():
        raise unknown("study", source, sorted(shipped)) if path.suffix != ".toml" else OptionError(f"no file {path}")
    text = path.read_text("utf-8")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OptionError(f"{path} is not TOML: {error}") from None
    rows = table.pop("row", [])
    _check(path, text, table, {f.name for f in fields(Study)} - {"rows"}, "a study")
    _check_training(path, text, table)
    if protocol or table.get("protocol"):
        table = _followed(table, str(protocol or table["protocol"]))
    if not isinstance(rows, list) or not rows:
        raise OptionError(f"{path} has no rows: add at least one [[row]] with a name and a strategy")
    made: list[Row] = []
    source_of: list[int] = []  # which table of the file a row was made from
    for number, row in enumerate(rows):
        _check(path, text, row, {f.name for f in fields(Row)}, "a row")
        _check_training(path, text, row)
        made += _crossed(path, row)
        source_of += [number] * (len(made) - len(source_of))
    names = [row.name for row in made]
    if len(set(names)) < len(names):
        raise OptionError(f"{path}: two rows are called '{max(names, key=names.count)}'; give each its own name")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    for name in ("data", "backbone", "prompts"):
        if isinstance(values.get(name), str):
            values[name] = (values[name],)
    study = _typed(path, Study, {"title": path.stem, "rows": tuple(made), **values})
    if study.baseline and study.baseline not in names:
        raise OptionError(f"{path}: {unknown('baseline', study.baseline, names)}")
    if wrong := _impossible(study):
        index, key, problem = wrong
        line = _line(text, None if index is None else source_of[index], key)
        raise OptionError(f"{path}{line}: {_of_row(study, index)}{problem}")
    return study


def _impossible(study: Study) -> tuple[int | None, str, str] | None:
    """The first thing in a study that cannot work whatever the data: number of the row, if one's; key; problem."""
    for key, low in (("way", 2), ("query", 1), ("frames", 1), ("episodes", 1)):
        if getattr(study, key) < low:
            return None, key, f"{key} must be at least {low}, found {getattr(study, key)}"
    for key, low in (("shots", 1), ("seeds", 0)):
        if not (values := getattr(study, key)) or min(values) < low:
            return None, key, f"{key} must be a list of numbers of at least {low}, found {list(values)}"
    if study.split not in (*SPLITS, "all"):
        return None, "split", str(unknown("split", study.split, [*SPLITS, "all"]))
    for number, row in enumerate(study.rows):
        checks: dict[str, Callable[[], object]] = {
            "strategy": partial(get_strategy, row.strategy, **row.strategy_options),
            "tuning": partial(tuning.expect, row.tuning, row.tuning_options),
            "head": partial(heads.expect, row.head or "prototype", row.head_options),
            "train": partial(_training, {**study.train, **row.train}),
            "search": partial(_searching, study.search if row.search is None else row.search),
        }
        for key, check in checks.items():
            try:
                check()
            except OptionError as error:
                named = f"{key}_options" if f"{key}_options" in vars(row) and "option '" in str(error) else key
                return number, named, str(error)
    return None


def _training(asked: dict[str, Any]) -> None:
    """Refuses arguments of `kshot.train` that have impossible values; their names are known."""
    options.expect("train", asked, asked, train)
    Schedule(**{f.name: asked[f.name] for f in fields(Schedule) if f.name in asked})


def _searching(search: Mapping[str, Sequence[Any]]) -> None:
    for name, values in search.items():
        for value in values:
            _training({name: value})


def _of_row(study: Study, number: int | None) -> str:
    return "" if number is None else f"row '{study.rows[number].name}': "


def _line(text: str, number: int | None, key: str) -> str:
    """ ", line 7": where a study's file sets a key, in its table number `number` of rows or before them; "" if nowhere.

    What all rows share may be what is wrong with one.
    """
    parts = re.split(r"(?m)^(?=[ \t]*\[\[row\]\])", text)
    starts = list(itertools.accumulate(map(len, parts), initial=0))
    for part in [0] if number is None else [number + 1, 0]:
        found = re.search(rf"(?m)^\s*\[*(?:row\.)?{key}\b", parts[part]) if part < len(parts) else None
        if found:
            return f", line {text[: starts[part] + found.end()].count(chr(10)) + 1}"
    return ""


def run(
    study: str | Path | Study,
    out: str | Path,
    data: Sequence[str | Dataset] = (),
    backbone: Sequence[str | Backbone] = (),
    seeds: Sequence[int] = (),
    episodes: int | None = None,
    protocol: str | None = None,
    store: str | Path | None = None,
    device: str = "cpu",
    precision: str = "float32",
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Runs what is not finished of a study and returns what `DIR/study.json` holds.

    Args:
        study: a name, file or Study.
        out: the study's folder, DIR.
        data, backbone, seeds, episodes, protocol: in place of the study's own, where given; see `read` and `Study`.
        store, device, precision: as in `kshot.extract`.
        progress: how to show progress, of the whole grid and of the row at work.

    Raises:
        KshotError: the study cannot start as asked; failures of single rows are recorded instead.
    """
    plan = planned(study, protocol, seeds, episodes)
    folder = Path(out)
    sets, spines = by_name(data or plan.data), by_name(backbone or plan.backbone)
    settings = json.loads(json.dumps(asdict(plan) | {"data": list(sets), "backbone": list(spines)}))
    _refuse_other(folder, settings)
    grid = list(itertools.product(sets.items(), spines.items(), plan.seeds, plan.rows))
    places = [folder / "rows" / _slug(d, b, row.name, f"seed{seed}") for (d, _), (b, _), seed, row in grid]
    todo = [cell for cell, where in zip(grid, places, strict=True) if _finished(where / "row.json") is None]
    # All that is still needed is loaded before anything is written or run: a wrong name is told now, not in hours.
    datas = {name: datasets.load(source) for name, source in dict(cell[0] for cell in todo).items()}
    towers = {
        name: spine if isinstance(spine, Backbone) else backbones.load(spine, device, precision)
        for name, spine in dict(cell[1] for cell in todo).items()
    }
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "settings.json", json.dumps(settings, indent=1).encode())
    rows: list[dict[str, Any]] = []
    found: dict[tuple[str, str, str], dict[str, Any]] = {}  # what the first seed's search chose
    with progress(plan.title, len(grid), "rows") as step:
        for ((data_name, _), (spine_name, _), seed, row), where in zip(grid, places, strict=True):
            record = _finished(where / "row.json")
            if record is None:
                step(0, row.name)
                record = {"data": data_name, "backbone": spine_name, "seed": seed, **asdict(row)}
                try:
                    record |= _run_row(
                        plan, row, datas[data_name], towers[spine_name], seed, where, store, progress,
                        found.get((data_name, spine_name, row.name)),
                    )  # fmt: skip
                except KshotError as error:
                    record["error"] = str(error)
                with disk(where):
                    where.mkdir(parents=True, exist_ok=True)
                    write_atomic(where / "row.json", json.dumps(record, indent=1).encode())
            if "searched" in record:
                found.setdefault((data_name, spine_name, row.name), record["searched"]["chosen"])
            rows.append(record | {"folder": str(where.relative_to(folder))})
            step()
    report = {
        "title": plan.title,
        "version": kshot.__version__,
        "date": datetime.date.today().isoformat(),
        "settings": settings,
        "machine": machine(),
        "rows": rows,
        "summary": summarise(folder, rows, plan.baseline),
    }
    with disk(folder):
        write_atomic(folder / "study.json", json.dumps(report, indent=1).encode())
        write_atomic(folder / "table.md", as_markdown(report).encode())
        write_atomic(folder / "table.csv", as_csv(report).encode())
    return report


def planned(
    study: str | Path | Study, protocol: str | None = None, seeds: Sequence[int] = (), episodes: int | None = None
) -> Study:
    """A study as it will run, with what is given in place of its own.

    Raises:
        OptionError: it cannot be run.
    """
    plan = replace(study, protocol=protocol or study.protocol) if isinstance(study, Study) else read(study, protocol)
    plan = replace(plan, seeds=tuple(seeds or plan.seeds), episodes=plan.episodes if episodes is None else episodes)
    if wrong := _impossible(plan):
        raise OptionError(f"{_of_row(plan, wrong[0])}{wrong[2]}")
    return plan


def by_name(things: Sequence[str | Named]) -> dict[str, str | Named]:
    """Data sets or backbones, each by the name that tables call it."""
    return {thing if isinstance(thing, str) else thing.name: thing for thing in things}


def summarise(folder: Path, rows: list[dict[str, Any]], baseline: str) -> list[dict[str, Any]]:
    """One line for each data, backbone, row and shot, over its seeds.

    accuracy, ci95: mean of the seeds and its interval over all their episodes. difference, difference_ci95: to the
    baseline on the same episodes. agree: seeds whose difference has the sign of the mean. Costs (`kshot.cost.COLUMNS`,
    extraction_seconds) are means, None where a row of an older version does not tell; device and precision are there.
    missing: how many entries the rows' `missing` have, clips of a benchmark that this copy of it lacks.
    """
    lines = []
    keys = dict.fromkeys((r["data"], r["backbone"], r["name"]) for r in rows)
    for data, spine, name in keys:
        mine = [r for r in rows if (r["data"], r["backbone"], r["name"]) == (data, spine, name)]
        good = [r for r in mine if "error" not in r]
        for shot in dict.fromkeys(shot for r in good for shot in r["results"]):
            base = [r for r in rows if (r["data"], r["backbone"], r["name"]) == (data, spine, baseline)]
            line = {"data": data, "backbone": spine, "name": name, "shot": int(shot), "seeds": len(good)}
            line |= _over_seeds(folder, good, base, shot)
            line |= _mean_costs(good, shot)
            line |= {k: good[0][k] for k in ("strategy", "tuning", "layers", "head")}
            line["missing"] = len({clip for row in good for clip in row.get("missing", ())})
            lines.append(line | {"chosen": ", ".join(f"{k} {v}" for k, v in (good[0].get("chosen") or {}).items())})
        if not good:
            lines.append({"data": data, "backbone": spine, "name": name, "error": mine[0]["error"]})
    return lines


def _mean_costs(rows: list[dict[str, Any]], shot: str) -> dict[str, Any]:
    """The costs of a row at a shot, over its seeds."""
    every = [row | row.get("costs", {}).get(shot, {}) for row in rows]
    line: dict[str, Any] = {}
    for key in (*cost.COLUMNS, "extraction_seconds"):
        values = [one.get(key) for one in every]
        line[key] = None if None in values else float(np.mean(values))
    return line | {key: every[0].get(key) for key in ("device", "precision")}


def _over_seeds(folder: Path, rows: list[dict[str, Any]], base: list[dict[str, Any]], shot: str) -> dict[str, Any]:
    against = {r["seed"]: r for r in base if "error" not in r}
    values, differences, agree = [], [], []
    for row in rows:
        mine = _episodes(folder, row, shot)
        values.append(mine)
        if row["seed"] in against and row["name"] != against[row["seed"]]["name"]:
            other = _episodes(folder, against[row["seed"]], shot)
            count = min(len(mine), len(other))
            differences.append(mine[:count] - other[:count])
            agree.append(float(differences[-1].mean()))
    every = np.concatenate(values)
    line: dict[str, Any] = {"accuracy": float(every.mean()), "ci95": interval(every), "episodes": len(values[0])}
    if differences:
        joined = np.concatenate(differences)
        mean = float(joined.mean())
        line |= {"difference": mean, "difference_ci95": interval(joined)}
        line |= {"agree": sum(np.sign(d) == np.sign(mean) for d in agree).item()}
    return line


def _episodes(folder: Path, row: dict[str, Any], shot: str) -> Any:
    path = folder / row["folder"] / f"{shot}-shot.json"
    return np.array(json.loads(path.read_text())["episode_accuracy"])


def as_markdown(report: dict[str, Any]) -> str:
    """The summary as Markdown tables, one for each data set and backbone."""
    settings, parts = report["settings"], [f"# {report['title']}\n"]
    parts.append(
        f"{report['date']}, kshot {report['version']}: {settings['way']}-way, {settings['query']} queries a class, "
        f"split {settings['split']}, {settings['episodes']:,} episodes a seed, "
        f"seeds {', '.join(map(str, settings['seeds']))}."
        + (f" Differences are to {settings['baseline']} on the same episodes." if settings["baseline"] else "")
        + "\n"
    )
    for data, spine in dict.fromkeys((line["data"], line["backbone"]) for line in report["summary"]):
        lines = [line for line in report["summary"] if (line["data"], line["backbone"]) == (data, spine)]
        shots = sorted({line["shot"] for line in lines if "shot" in line})
        parts.append(f"\n## {data}, {spine}\n")
        if told := lacking(report["rows"], data):
            parts.append(f"{told}\n")
        head = ["method", *(f"{s}-shot, % | difference" for s in shots)]
        parts.append(_ruled(head, 1 + 2 * len(shots)))
        finished: list[dict[str, Any]] = []
        for name in dict.fromkeys(line["name"] for line in lines):
            own = {line.get("shot"): line for line in lines if line["name"] == name}
            if None in own:
                parts.append(f"| {name} | failed: {own[None]['error']} |")
                continue
            cells = []
            for shot in shots:
                line = own[shot]
                note = "" if line["episodes"] == settings["episodes"] else f" (first {line['episodes']:,} episodes)"
                cells.append(f"{line['accuracy']:.1f} ± {line['ci95']:.1f}{note}")
                cells.append(_difference(line, len(settings["seeds"])))
            finished.append(own[shots[-1]])
            parts.append(f"| {' | '.join([name, *cells])} |")
        if searched := {line["name"]: line["chosen"] for line in lines if line.get("chosen")}:
            told = "; ".join(f"{name}: {chosen}" for name, chosen in searched.items())
            parts.append(f"\nChosen on val with the first seed, out of {_told(settings['search'])}: {told}.")
        keys = cost.present(finished)
        if keys:
            parts.append(f"\nCost, at {shots[-1]}-shot where it depends on the shots:\n")
            parts.append(_ruled(["method", *(cost.COLUMNS[key][0] for key in keys)], 1 + len(keys)))
            for line in finished:
                parts.append(f"| {' | '.join([line['name'], *(cost.written(line, key) for key in keys)])} |")
    return "\n".join(parts) + "\n"


def lacking(rows: Sequence[Mapping[str, Any]], data: str) -> str:
    """A sentence on the clips that this copy of a benchmark lacks; "" where none is missing."""
    names = list(dict.fromkeys(clip for row in rows if row["data"] == data for clip in row.get("missing", ())))
    more = f" and {len(names) - 3} more, see study.json" if len(names) > 3 else ""
    return f"This copy of {data} lacks clips of the published split: {'; '.join(names[:3])}{more}." if names else ""


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


def _run_row(
    plan: Study,
    row: Row,
    data: Any,
    spine: Any,
    seed: int,
    where: Path,
    store: str | Path | None,
    progress: Progress,
    chosen: dict[str, Any] | None,
) -> dict[str, Any]:
    """chosen: what a search with another seed found; None to search, if the study asks for it."""
    strategy = get_strategy(row.strategy, **row.strategy_options)
    learns = strategy.learns_from != "nothing"
    record: dict[str, Any] = {"results": {}, "costs": {}, "training_seconds": 0.0, "trained_parameters": 0}
    for shot in plan.shots:
        adapted = None
        if learns:
            if chosen is None and (values := plan.search if row.search is None else row.search):
                record["searched"] = _search(plan, row, data, spine, seed, shot, where, store, progress, values)
                chosen = record["searched"]["chosen"]
            if chosen:
                record["chosen"] = chosen
            adapted = _train(plan, row, data, spine, seed, shot, where, store, progress, chosen or {})
            record["training_seconds"] = adapted.config["result"]["training_seconds"]
            record["trained_parameters"] = adapted.config["result"]["trained_parameters"]
            record["val_accuracy"] = adapted.config["result"]["val_accuracy"]
            record["best_step"] = adapted.config["result"]["best_step"]
        result: Result = evaluate(
            data, spine, adapted.folder if adapted else None,
            head=row.head or (None if learns else strategy.default_head), head_options=row.head_options, way=plan.way,
            shot=shot, query=plan.query, episodes=min(plan.episodes, row.episodes or plan.episodes), seed=seed,
            split=plan.split, shared_group=plan.shared_group, center=plan.center, prompts=plan.prompts,
            frames=plan.frames, resize=plan.resize, store=store, protocol=plan.protocol, progress=progress,
        )  # fmt: skip
        result.strategy = row.strategy
        with disk(where):
            where.mkdir(parents=True, exist_ok=True)
            result.save(where / f"{shot}-shot.json")
        record["costs"][str(shot)] = _costs(adapted.config["result"] if adapted else {}, result)
        short = result.summary()
        record["missing"] = list(dict.fromkeys([*record.get("missing", []), *result.missing]))
        record["results"][str(shot)] = {k: short[k] for k in ("accuracy", "ci95", "episodes", "per_class", "confusion")}
        record |= {"head": result.head, "clips": result.clips, "fingerprint": result.fingerprint}
    seconds = sum(one["evaluation_seconds"] for one in record["costs"].values())
    return record | {"evaluation_seconds": round(seconds, 3)}


def _train(
    plan: Study,
    row: Row,
    data: Any,
    spine: Any,
    seed: int,
    shot: int,
    where: Path,
    store: str | Path | None,
    progress: Progress,
    chosen: Mapping[str, Any],
) -> runs.Run:
    """A row's run for a shot, trained unless it is there already. chosen: arguments in place of the study's."""
    parts = ["run", *([] if row.train_shot else [f"{shot}-shot"]), *(_slug(k, str(v)) for k, v in chosen.items())]
    folder = where / "-".join(parts)
    train(
        data, folder, row.strategy, row.tuning, row.layers, spine, row.head,
        strategy_options=row.strategy_options, tuning_options=row.tuning_options,
        head_options=row.head_options, resume=folder.exists(), progress=progress,
        seed=seed, store=store, **{**training_arguments(plan, row, shot), **chosen},
    )  # fmt: skip
    return runs.read(folder)


def training_arguments(plan: Study, row: Row, shot: int) -> dict[str, Any]:
    """Arguments of `kshot.train` that a row's training for a shot is given, by the study and by the row."""
    own = {} if plan.protocol else {"query": plan.query}  # a protocol may train with another number than it tests with
    return {
        "way": plan.way, "shot": row.train_shot or shot, "frames": plan.frames, "resize": plan.resize,
        "prompts": plan.prompts, "shared_group": plan.shared_group, "protocol": plan.protocol,
        **own, **plan.train, **row.train,
    }  # fmt: skip


def _search(
    plan: Study,
    row: Row,
    data: Any,
    spine: Any,
    seed: int,
    shot: int,
    where: Path,
    store: str | Path | None,
    progress: Progress,
    values: Mapping[str, Sequence[Any]],
) -> dict[str, Any]:
    """Trains every combination of `values` and chooses by val accuracy; the first listed one wins a tie.

    Raises:
        DataError: the data has no val classes to choose on.
    """
    tried: list[dict[str, Any]] = []
    for combination in itertools.product(*values.values()):
        arguments = dict(zip(values, combination, strict=True))
        result = _train(plan, row, data, spine, seed, shot, where, store, progress, arguments).config["result"]
        if result["val_accuracy"] is None:
            raise DataError("a search chooses on val classes, and these data have none: give classes the split val")
        tried.append({"arguments": arguments, "val_accuracy": result["val_accuracy"], "best_step": result["best_step"],
                      "seconds": result["training_seconds"]})  # fmt: skip
    best = max(tried, key=lambda one: float(one["val_accuracy"]))
    return {"chosen": best["arguments"], "seed": seed, "tried": tried}


def _costs(trained: dict[str, Any], result: Result) -> dict[str, Any]:
    """What a row cost at a shot: of its run's `result`, empty where nothing was trained, and of its evaluation."""
    found: dict[str, Any] = dict.fromkeys((*cost.TRAINING, "extraction_seconds"), 0)
    if trained:
        found = {key: trained.get(key) for key in (*found, "stored_bytes", "peak_memory")}
    both = found | result.cost
    for key in ("stored_bytes", "peak_memory", "extraction_seconds"):
        values = [part[key] for part in (found, result.cost) if key in part]
        # Novel clips come on top of those trained on; any other split is among them, or they among it.
        join = max if key == "peak_memory" or (key == "stored_bytes" and result.split != "test") else sum
        both[key] = None if None in values else join(values)
    return both


def _refuse_other(folder: Path, settings: dict[str, Any]) -> None:
    """Refuses a folder that holds something else, or a study with other settings."""
    path = folder / "settings.json"
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"--out {folder} is a file; name a folder")
    if folder.exists() and any(folder.iterdir()) and not path.exists():
        raise OptionError(f"--out {folder} is not empty and holds no study; name another folder")
    if path.exists():
        before = {"resize": "short", **json.loads(path.read_text())}  # once there was no other
        changed = [name for name in settings if before.get(name) != settings[name]]
        if changed:
            raise OptionError(
                f"{folder} holds a study with other settings ({', '.join(changed)} differ); name another --out"
            )


def _finished(path: Path) -> dict[str, Any] | None:
    """A row's record, unless it is missing, torn or of a failure, which is tried again."""
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return None if "error" in record else record


def load(folder: str | Path) -> dict[str, Any]:
    """What `run` wrote to a study's folder.

    Raises:
        DataError: no finished study there.
    """
    path = Path(folder) / "study.json"
    try:
        report: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder} holds no finished study: expected study.json, as `kshot study` writes") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}); run the study again, finished rows are kept") from None
    return report


def _crossed(path: Path, row: dict[str, Any]) -> list[Row]:
    """The rows of one [[row]], lists in tuning, layers and head crossed and named after what differs."""
    if not isinstance(row.get("name"), str):
        raise OptionError(f"{path}: every [[row]] needs a name")
    lists = {k: row[k] for k in ("tuning", "layers", "head") if isinstance(row.get(k), list)}
    made = []
    for values in itertools.product(*lists.values()):
        chosen = dict(zip(lists, values, strict=True))
        name = ", ".join([row["name"], *map(str, values)])
        made.append(_typed(path, Row, {**row, **chosen, "name": name}))
    return made


def _typed(path: Path, kind: type[Made], values: dict[str, Any]) -> Made:
    """`kind(**values)`, its fields checked to have the types they declare."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise OptionError(f"{path}: {place}: {first['msg'].lower()}, found {first['input']!r}") from None


def _check(path: Path, text: str, table: dict[str, Any], known: set[str], what: str) -> None:
    for key in table:
        if key not in known:
            found = re.search(rf"^\s*\[*{re.escape(key)}\b|\b{re.escape(key)}\s*=", text, re.MULTILINE)
            line = text[: found.end()].count("\n") + 1 if found else "?"
            raise OptionError(f"{path}, line {line}: {unknown(f'key of {what}', key, sorted(known))}")


def _followed(table: dict[str, Any], protocol: str) -> dict[str, Any]:
    """A study's table with what it leaves to its protocol. Its own query is that of training, too."""
    training = dict(table.get("train", {}))
    if "query" in table:
        training.setdefault("query", table["query"])
    return {**protocols.preset(protocol, "testing"), **table, "train": training, "protocol": protocol}


def _check_training(path: Path, text: str, table: dict[str, Any]) -> None:
    """`train` and `search` of a study or row name arguments of `kshot.train` that the study does not set itself."""
    known = set(inspect.signature(train).parameters) - OWN
    for key in ("train", "search"):
        if not isinstance(inner := table.get(key, {}), dict):
            raise OptionError(f"{path}: {key} must be a table such as {{ lr = ... }}, found {inner!r}")
        _check(path, text, inner, known, key)
    for name, values in table.get("search", {}).items():
        if not isinstance(values, list) or not values:
            raise OptionError(f"{path}: search.{name} must be a list of values to try, found {values!r}")


def _slug(*names: str) -> str:
    return "-".join(re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") for name in names)
