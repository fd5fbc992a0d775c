"""Rows of a study side by side, as shards and in processes that work together: what they find is the same."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crews import Crews
from kshot import system
from kshot.errors import DataError, KshotError, OptionError, StoreError
from kshot.files import locked
from kshot.study import jobs
from kshot.study.file import planned, read_study
from kshot.study.grid import Grid
from kshot.study.runner import run
from kshot.study.sharing import Sharing, parts

pytestmark = pytest.mark.slow

SMALL = """
title = "small"
data = "{data}"
backbone = "{backbone}"
shots = [1]
seeds = [0, 1]
way = 2
query = 2
episodes = 30
frames = 3
baseline = "frozen"

[train]
steps = 2
val_every = 2
val_episodes = 4
way = 2
query = 1

[[row]]
name = "frozen"

[[row]]
name = "searched"
strategy = "meta"
tuning = "partial"
layers = "proj"
search = {{ lr = [1e-3, 1e-2] }}

[[row]]
name = "direct"
strategy = "direct"
episodes = 3

[[row]]
name = "broken"
head = "trx"
"""

TIMES = ("seconds", "cost", "date", "machine", "files", "seal", "finished", "computed", "peak_memory")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, clips_csv: Path, clip_folder: Path) -> Path:
    path = tmp_path_factory.mktemp("study") / "small.toml"
    path.write_text(SMALL.format(data=clips_csv, backbone=clip_folder))
    return path


@pytest.fixture(scope="module")
def crews(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crews]:
    with Crews(tmp_path_factory.mktemp("crews")) as made:
        yield made


@pytest.fixture(scope="module")
def alone(source: Path, crews: Crews, warm_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study in one process, one row after the other."""
    folder = tmp_path_factory.mktemp("alone") / "out"
    assert in_processes(crews, 1, source, folder, warm_store) == [0]
    return folder


def in_processes(crews: Crews, world: int, source: Path, folder: Path, store: Path) -> list[int]:
    script = f"from kshot.study.runner import run\nrun({str(source)!r}, {str(folder)!r}, store={str(store)!r})"
    return crews(script, world).codes


def found(folder: Path) -> dict[str, Any]:
    """Everything in a study's folder but times: files of weights whole, tables without their part on costs."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if not any(word in k for word in TIMES)}
        return [timeless(one) for one in value] if isinstance(value, list) else value

    every: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".json":
            every[name] = timeless(json.loads(path.read_text().replace(str(folder), "OUT")))
        elif path.suffix == ".jsonl":
            every[name] = [timeless(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.suffix == ".md":
            every[name] = path.read_text().split("\nCost,")[0]
        elif path.suffix == ".safetensors":
            every[name] = path.read_bytes()
    return every


def test_parts_are_shared_out_whole_and_once(source: Path, tmp_path: Path) -> None:
    plan = read_study(source)
    grid = Grid.of(plan, tmp_path, (), ())
    every = parts(plan, grid.cells)
    names = [[(cell.row.name, cell.seed) for cell in part] for part in every]
    assert [("searched", 0), ("searched", 1)] in names, "what the first seed's search chose, the second takes"
    assert sum(map(len, names)) == len(grid.cells) == 8 and len(names) == 7
    for count in (1, 2, 3, 7, 9):
        shares = [every[number::count] for number in range(count)]
        assert sorted(cell.where for share in shares for part in share for cell in part) == sorted(
            cell.where for cell in grid.cells
        )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"shard": "2/2"}, r"shard 2/2 is out of range: they are numbered 0/2 to 1/2"),
        ({"shard": "0/0"}, "expected at least 1"),
        ({"shard": "one"}, "'one' is not of the form i/n"),
        ({"shard": "0/2", "merge": True}, "leave --shard and --jobs out"),
        ({"jobs": 0}, "jobs must be at least 1"),
    ],
)
def test_what_cannot_be_shared_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        Sharing.of(given)


def test_jobs_find_what_one_process_finds(
    source: Path, alone: Path, warm_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "cores", lambda: 2)  # so that each computes with one thread, as the other did
    run(source, tmp_path / "out", store=warm_store, jobs=2)
    assert found(tmp_path / "out") == found(alone)


def test_shards_are_merged_to_what_one_process_finds(
    source: Path, alone: Path, warm_store: Path, tmp_path: Path, crews: Crews
) -> None:
    script = f"""
from kshot.study.runner import run
done = run({str(source)!r}, {str(tmp_path / "out")!r}, store={str(warm_store)!r}, shard="NUMBER/2")
print(sorted(f"{{row.name}} {{row.seed}}" for row in done.rows))
"""
    assert crews(script.replace("NUMBER", "1"), 1).codes == [0]
    assert not (tmp_path / "out" / "study.json").exists()
    with pytest.raises(DataError, match=r"lacks 4 of 8 rows: 'frozen' with seed 0 on .* then --merge"):
        run(source, tmp_path / "out", store=warm_store, merge=True)
    assert crews(script.replace("NUMBER", "0"), 1).codes == [0]
    assert not list((tmp_path / "out").rglob("*lock*"))
    run(source, tmp_path / "out", store=warm_store, merge=True)
    assert found(tmp_path / "out") == found(alone)


def test_processes_that_work_together_deal_the_rows_out(
    source: Path, alone: Path, warm_store: Path, tmp_path: Path, crews: Crews
) -> None:
    assert in_processes(crews, 2, source, tmp_path / "out", warm_store) == [0, 0]
    assert found(tmp_path / "out") == found(alone)


def test_a_job_that_is_lost_is_told_in_one_line(
    source: Path, warm_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dead := tmp_path / "dead").write_text("#!/bin/sh\nexit 7\n")
    dead.chmod(0o755)
    monkeypatch.setattr(jobs.sys, "executable", str(dead))
    with pytest.raises(KshotError, match=r"a process of the study ended.*exit code 7.*finished rows are kept"):
        run(source, tmp_path / "out", store=warm_store, jobs=2)


def test_a_row_has_one_writer(source: Path, warm_store: Path, tmp_path: Path) -> None:
    grid = Grid.of(planned(source), tmp_path / "out", (), ())
    grid.begin()
    with locked(grid.cells[0].where), pytest.raises(StoreError, match=r"another kshot is writing to .*frozen-seed0"):
        run(source, tmp_path / "out", store=warm_store)
    assert grid.cells[0].recorded() is None


LONG = re.sub(r"(?s)\[\[row\]\].*", '[[row]]\nname = "long"\nstrategy = "meta"\ntuning = "partial"\n', SMALL)


def test_ctrl_c_stops_all_jobs_between_two_steps(
    tmp_path: Path, clips_csv: Path, clip_folder: Path, warm_store: Path
) -> None:
    study = tmp_path / "long.toml"
    text = LONG.format(data=clips_csv, backbone=clip_folder).replace("steps = 2\nval_every = 2", "val_every = 1000000")
    study.write_text(text.replace("[train]", "[train]\nsteps = 1000000").replace('baseline = "frozen"\n', ""))
    command = [sys.executable, "-m", "kshot.cli", "study", str(study), "--out", str(tmp_path / "out"), "--jobs", "2"]
    process = subprocess.Popen(
        [*command, "--store", str(warm_store)], stderr=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        patience = time.monotonic() + 300
        while len(logs := [*(tmp_path / "out").rglob("metrics.jsonl")]) < 2 or any(
            "loss" not in x.read_text() for x in logs
        ):
            assert process.poll() is None and time.monotonic() < patience
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130 and told.count("kshot: stopped") == 1, told
    runs = [path.parent for path in logs]
    assert all((folder / "checkpoint.safetensors").exists() for folder in runs), "both stopped between two steps"
    steps = [len(path.read_text().splitlines()) for path in logs]
    time.sleep(1.0)
    assert [len(path.read_text().splitlines()) for path in logs] == steps, "nobody goes on"
    assert not list((tmp_path / "out").rglob(".kshot-lock*"))
