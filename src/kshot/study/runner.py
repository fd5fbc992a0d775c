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
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import kshot
from kshot import datasets, gate, seals
from kshot.backbones import backbone as backbones
from kshot.backbones.backbone import Backbone
from kshot.datasets import Dataset
from kshot.errors import DataError, KshotError, OptionError
from kshot.fewshot import cost, runs
from kshot.fewshot.evaluation import Result, evaluate, interval, machine
from kshot.fewshot.strategies import get_strategy
from kshot.fewshot.training import train
from kshot.files import alone, disk, occupied, write_atomic
from kshot.names import folder_name, folder_names
from kshot.progress import Progress, quiet
from kshot.study.file import Row, Study, impossible, of_row, read
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
    device: str = "cpu",
    precision: str = "float32",
    progress: Progress = quiet,
    keep_copies: bool = False,
) -> dict[str, Any]:
    """Runs what is not finished of a study and returns what `DIR/study.json` holds.

    Args:
        study: a name, file or Study.
        out: the study's folder, DIR.
        data, backbone, seeds, episodes, protocol: in place of the study's own, where given; see `read` and `Study`.
        store, device, precision: as in `kshot.extract`.
        progress: how to show progress, of the whole grid and of the row at work.
        keep_copies: keep them although the study does not say so; see `kshot.activations.copies`.

    Raises:
        KshotError: the study cannot start as asked; failures of single rows are recorded instead.
    """
    plan = planned(study, protocol, seeds, episodes)
    plan = replace(plan, keep_copies=plan.keep_copies or keep_copies)
    folder = Path(out)
    sets, spines = by_name(data or plan.data, "data set"), by_name(backbone or plan.backbone, "backbone")
    settings = json.loads(json.dumps(asdict(plan) | {"data": list(sets), "backbone": list(spines)}))
    _refuse_other(folder, settings)
    grid = list(itertools.product(sets.items(), spines.items(), plan.seeds, plan.rows))
    whose = [{"data": d, "backbone": b, "seed": seed, "name": row.name} for (d, _), (b, _), seed, row in grid]
    places = _places(folder, whose)
    todo = [c for c, at, own in zip(grid, places, whose, strict=True) if _finished(at / "row.json", own) is None]
    # All that is still needed is loaded before anything is written or run: a wrong name is told now, not in hours.
    datas = {name: datasets.load(source) for name, source in dict(cell[0] for cell in todo).items()}
    towers = {
        name: spine if isinstance(spine, Backbone) else backbones.load(spine, device, precision)
        for name, spine in dict(cell[1] for cell in todo).items()
    }
    with disk(folder):
        write_atomic(folder / "settings.json", json.dumps(seals.sealed(settings), indent=1).encode())
    rows: list[dict[str, Any]] = []
    found: dict[tuple[str, str, str], dict[str, Any]] = {}  # what the first seed's search chose
    with progress(plan.title, len(grid), "rows") as step:
        for ((data_name, _), (spine_name, _), seed, row), where, own in zip(grid, places, whose, strict=True):
            record = _finished(where / "row.json", own)
            if record is None:
                step(0, row.name)
                record = {**own, **asdict(row)}
                try:
                    record |= _run_row(
                        plan, row, datas[data_name], towers[spine_name], seed, where, store, progress,
                        found.get((data_name, spine_name, row.name)),
                    )  # fmt: skip
                except KshotError as error:
                    record["error"] = str(error)
                with disk(where):
                    where.mkdir(parents=True, exist_ok=True)
                    files = [f"{shot}-shot.json" for shot in record.get("results", {})]
                    record = seals.sealed(record, where, files)
                    write_atomic(where / "row.json", json.dumps(record, indent=1).encode())
            if "searched" in record:
                found.setdefault((data_name, spine_name, row.name), record["searched"]["chosen"])
            record.pop("seal", None)
            rows.append(record | {"folder": where.relative_to(folder).as_posix()})
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
        write_atomic(folder / "table.md", as_markdown(report).encode())
        write_atomic(folder / "table.csv", as_csv(report).encode())
        about = seals.sealed(report, folder, ("table.md", "table.csv"))
        write_atomic(folder / "study.json", json.dumps(about, indent=1).encode())
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
    if wrong := impossible(plan):
        raise OptionError(f"{of_row(plan, wrong[0])}{wrong[2]}")
    return plan


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


def summarise(folder: Path, rows: list[dict[str, Any]], baseline: str) -> list[dict[str, Any]]:
    """One line for each data, backbone, row and shot, over its seeds.

    accuracy, ci95: mean of the seeds and its interval over all their episodes. difference, difference_ci95: to the
    baseline on the same episodes. agree: seeds whose difference has the sign of the mean. Costs (`cost.COLUMNS`,
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
    return np.array(result_of(folder, row, shot)["episode_accuracy"])


def result_of(folder: Path, row: Mapping[str, Any], shot: str | int) -> dict[str, Any]:
    """What the result file of a study's row says.

    Raises:
        DataError: it is gone, damaged, no longer the sealed one, or outside of the study's folder.
    """
    from kshot import forms

    where, name = gate.inside(folder, row["folder"]), f"{shot}-shot.json"
    path = gate.inside(where, name)
    result: dict[str, Any] = gate.typed(gate.read_json(path), forms.ResultFile, path)
    if row.get("files") and seals.sha256(path) != row["files"].get(name):
        raise DataError(f"{path} is damaged: its sha256 is not the one that its row sealed; remove that folder's "
                        f"row.json and run the study again")  # fmt: skip
    return result


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
            frames=plan.frames, resize=plan.resize, keep_copies=plan.keep_copies, store=store,
            protocol=plan.protocol, progress=progress,
        )  # fmt: skip
        result.strategy = row.strategy
        with disk(where):
            where.mkdir(parents=True, exist_ok=True)
            result.save(where / f"{shot}-shot.json")
        trained = adapted.config["result"] if adapted else {}
        record["costs"][str(shot)] = _costs(trained, result)
        short = result.summary()
        for key, found in (("missing", result.missing), ("notes", result.notes + trained.get("notes", []))):
            record[key] = list(dict.fromkeys([*record.get(key, []), *found]))
        record["unreadable"] = record.get("unreadable", {}) | result.unreadable
        record["damaged"] = list({one["clip"]: one for one in [*record.get("damaged", []), *result.damaged]}.values())
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
    parts = ["run", *([] if row.train_shot else [f"{shot}-shot"]), *(f"{k}-{v}" for k, v in chosen.items())]
    folder = where / folder_name(*parts)
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
        "keep_copies": plan.keep_copies,
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
    if occupied(folder) and not path.exists():
        raise OptionError(f"--out {folder} is not empty and holds no study; name another folder")
    if path.exists():
        again = "remove it and run the same command again, if the study's settings are the same"
        formerly = {"resize": "short", "keep_copies": False}  # once there was no other
        before = formerly | seals.read(path, OptionError, again)
        words = ("title", "about")  # which change no number
        changed = [name for name in settings if name not in words and before.get(name) != settings[name]]
        if changed:
            raise OptionError(
                f"{folder} holds a study with other settings ({', '.join(changed)} differ); name another --out"
            )


def _finished(path: Path, own: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row's record, unless it is missing, torn, altered, of another row, or of a failure: then it is run again."""
    from kshot import forms

    try:
        record: dict[str, Any] = gate.typed(seals.read(path), forms.RowFile, path)
    except DataError:
        return None
    mine = all(record.get(key) == value for key, value in own.items())
    return record if mine and "error" not in record and not seals.faults(path.parent, record.get("files", {})) else None


def load(folder: str | Path) -> dict[str, Any]:
    """What `run` wrote to a study's folder.

    Raises:
        DataError: no finished study there.
    """
    from kshot import forms

    path = Path(folder) / "study.json"
    if not path.exists():
        raise DataError(f"{folder} holds no finished study: expected study.json, as `kshot study` writes")
    report: dict[str, Any] = seals.read(path, again="run the study again, finished rows are kept")
    gate.typed(report, forms.StudyFile, path)
    for row in report["rows"]:
        gate.inside(Path(folder), row["folder"])
    if not _agrees(report):
        raise DataError(
            f"{path} is damaged: its summary is not of its rows; run the study again, finished rows are kept"
        )
    return report


def _agrees(report: dict[str, Any]) -> bool:
    """Whether every finished row has all the shots, and the summary a line for each of them and for nothing else."""
    shots = {str(shot) for shot in report["settings"]["shots"]}
    finished = [row for row in report["rows"] if "error" not in row]
    if any(set(row.get("results", {})) != shots for row in finished):
        return False

    def keys(things: Sequence[Mapping[str, Any]]) -> set[tuple[str, ...]]:
        return {(thing["data"], thing["backbone"], thing["name"]) for thing in things}

    told = [line for line in report["summary"] if "shot" in line]
    at_all_shots = all({str(one["shot"]) for one in told if keys([one]) == {key}} == shots for key in keys(finished))
    return at_all_shots and keys(told) == keys(finished) and keys(report["summary"]) == keys(report["rows"])
