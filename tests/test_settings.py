"""Settings: written once, and everything else follows from the fields."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kshot
from forks import Command
from kshot import settings
from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from kshot.fewshot.evaluation import evaluate
from kshot.fewshot.strategies import STRATEGIES, get_strategy
from kshot.fewshot.training import train
from kshot.settings import Compute, EpisodeShape, Evaluating, Method, Schedule, Selection, Training, View, types
from kshot.settings.fields import Front, Settings

ROOT = Path(__file__).parents[1]
QUICK: dict[str, Any] = {"way": 3, "query": 2, "steps": 2, "val_every": 2, "val_episodes": 5}


def test_the_types_for_editors_are_current() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import settings_types as script
    finally:
        sys.path.pop(0)
    assert Path(types.__file__).read_text("utf-8") == script.text(), "run python scripts/settings_types.py"


@pytest.mark.parametrize("front", settings.FRONTS)
def test_every_field_is_explained_once(front: type[Front]) -> None:
    names = [name for group in front.groups().values() for name in group.names()]
    assert len(names) == len(set(names)) == len(front.fields())
    for group in front.groups().values():
        told = "".join(base.__doc__ or "" for base in group.__mro__)
        for one in group.fields():
            help = one.metadata["help"]
            assert 5 < len(help) < 100 and not help.endswith("."), one.name
            assert f"        {one.name}: " in told, f"{group.__name__} has no Attributes line for {one.name}"


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (Schedule, "steps", 0), (Schedule, "accumulate", 0), (Selection, "val_every", 0), (Schedule, "lr", 0.0),
        (Schedule, "lr", -1.0), (Schedule, "lr", math.nan), (Schedule, "lr", math.inf), (Schedule, "lr", "fast"),
        (Schedule, "weight_decay", -0.1), (Schedule, "warmup", -1), (Schedule, "max_grad_norm", -1.0),
        (Selection, "patience", -1), (Schedule, "momentum", -0.5), (Schedule, "seed", True), (View, "frames", 2.5),
        (View, "resize", 3), (EpisodeShape, "way", 1), (EpisodeShape, "shared_group", "no"), (Method, "tuning", None),
        (Method, "layers", 1.5), (Method, "head_options", "scale=1"), (Compute, "stored_only", 1),
    ],
)  # fmt: skip
def test_refuses_an_impossible_value(kind: type[Settings], name: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"^{name}.*{re.escape(str(value))}"):
        kind(**{name: value})


def test_texts_from_a_list_have_the_nearest_named() -> None:
    with pytest.raises(OptionError, match="unknown optimizer 'adm': did you mean 'adam'"):
        Schedule(optimizer="adm")
    with pytest.raises(OptionError, match="unknown schedule 'step'"):
        Schedule(schedule="step")


def test_numbers_of_numpy_are_numbers() -> None:
    plan = Schedule(steps=np.int64(3), lr=np.float32(0.5))
    assert (type(plan.steps), type(plan.lr)) == (int, float) and json.dumps(plan.record())


def test_keywords_beat_objects_and_none_is_not_given() -> None:
    values = Training.chosen([Schedule(steps=7, lr=0.5), View(frames=4)], {"lr": 0.25, "head": None})
    plan = Training.of(values)
    assert (plan.schedule.steps, plan.schedule.lr, plan.view.frames, plan.shape.way) == (7, 0.25, 4, 5)
    assert Evaluating.chosen((), {"frames": None, "head": None}) == {}
    assert Training.chosen((), {"frames": None}) == {}, "as many as the backbone takes"
    for name in ("steps", "seed", "way"):
        with pytest.raises(OptionError, match=f"{name} must be a whole number, found None"):
            Training.chosen((), {name: None})
    assert Training.chosen((), {"clip": 2.0}) == {"max_grad_norm": 2.0}, "what it was called before"
    with pytest.raises(OptionError, match=r"unknown argument of kshot\.train 'stesp': did you mean 'steps'"):
        Training.chosen((), {"stesp": 3})
    with pytest.raises(OptionError, match=r"kshot\.evaluate takes settings \(Scoring, .*found 'meta'"):
        Evaluating.chosen(["meta"], {})  # type: ignore[list-item]


def test_objects_and_keywords_are_the_same(
    clips_csv: Path, backbone: Backbone, warm_store: Path, tmp_path: Path
) -> None:
    common: dict[str, Any] = {"backbone": backbone, "store": warm_store}
    train(clips_csv, tmp_path / "words", **common, **QUICK)
    shape, selection = EpisodeShape(way=3, query=2), Selection(val_every=2, val_episodes=5)
    train(clips_csv, tmp_path / "objects", shape, Schedule(steps=2), selection, **common)
    first, second = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("words", "objects"))
    assert {k: v for k, v in first.items() if k not in ("result", "seal", "files")} == {
        k: v for k, v in second.items() if k not in ("result", "seal", "files")
    }
    assert first["result"]["weights_sha256"] == second["result"]["weights_sha256"]
    one = evaluate(clips_csv, backbone, None, shape, store=warm_store, episodes=20)
    two = evaluate(clips_csv, backbone, way=3, query=2, store=warm_store, episodes=20)
    assert one.episode_accuracy.tolist() == two.episode_accuracy.tolist()


def test_a_run_of_before_the_rename_goes_on_and_is_read(
    clips_csv: Path, backbone: Backbone, warm_store: Path, tmp_path: Path
) -> None:
    """`max_grad_norm` was called `clip`, and older runs do not name everything."""
    from kshot import seals
    from kshot.fewshot import runs

    common: dict[str, Any] = {"backbone": backbone, "store": warm_store, "max_grad_norm": 3.0}
    train(clips_csv, tmp_path / "run", **common, **QUICK)
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    del config["seal"], config["files"]
    schedule = config["schedule"]
    schedule["clip"] = schedule.pop("max_grad_norm")
    for name in ("resize", "views", "augment", "no_flip", "keep_copies"):
        del config[name]
    path.write_text(json.dumps(seals.sealed(config, tmp_path / "run", runs.FILES)))
    assert runs.read_run(tmp_path / "run").config["schedule"]["max_grad_norm"] == 3.0
    assert train(clips_csv, tmp_path / "run", resume=True, **common, **QUICK).steps == 2
    with pytest.raises(OptionError, match=r"other settings: schedule\.max_grad_norm was 3\.0, now 1\.0"):
        train(clips_csv, tmp_path / "run", resume=True, **{**common, "max_grad_norm": 1.0}, **QUICK)


def test_every_strategy_that_learns_is_named_where_it_is_asked_for() -> None:
    help = Method.__dataclass_fields__["strategy"].metadata["help"]
    for name in STRATEGIES:
        strategy = get_strategy(name)
        assert strategy.about.endswith(".")
        assert (name in help) == (strategy.learns_from != "nothing")


NEW = '    ema: float = setting(0.0, "decay of an average of the weights, 0 for none", low=0)\n'
STUDY = """
title = "new"
data = "{data}"
backbone = "{backbone}"
shots = [1]
way = 3
query = 2
episodes = 5
train = {{ ema = 0.5, steps = 1, val_every = 1, val_episodes = 2 }}

[[row]]
name = "meta"
strategy = "meta"
"""
USE = """
import json, sys
from pathlib import Path
from kshot.cli import main
from kshot.fewshot import protocols
from kshot.settings import Training
from kshot.study.file import read_study
from kshot.study.forecast import forecast
assert Training.of(protocols.preset("kshot", "training") | {"ema": 0.25}).schedule.ema == 0.25
plan = read_study(sys.argv[1])
assert forecast(plan, speed=1.0)["parts"][0]["rows"][0]["trainings"] == 1
main(sys.argv[2:])
"""


@pytest.mark.slow
def test_a_new_setting_is_one_field(clips_csv: Path, clip_folder: Path, warm_store: Path, tmp_path: Path) -> None:
    """Its option, help, study key, check, keyword, record and type all follow from it, in a copy of the package."""
    copy = tmp_path / "src" / "kshot"
    shutil.copytree(Path(kshot.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    text = (copy / "settings" / "__init__.py").read_text("utf-8")
    before = "    seed: int = setting("
    assert text.count(before) == 2
    (copy / "settings" / "__init__.py").write_text(text.replace(before, NEW + before, 1), "utf-8")
    study = tmp_path / "new.toml"
    study.write_text(STUDY.format(data=clips_csv, backbone=clip_folder))

    def run(*words: object, script: str = "from kshot.cli import main; main()") -> subprocess.CompletedProcess[str]:
        environment = {"PYTHONPATH": str(tmp_path / "src"), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", script, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)

    assert "--ema <float>" in run("train", "--help").stdout
    out = tmp_path / "study"
    done = run(study, "study", study, "--out", out, "--store", warm_store, "--json", script=USE)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert json.loads((out / row["folder"] / "run" / "config.json").read_text())["schedule"]["ema"] == 0.5
    place = ("--backbone", clip_folder, "--store", warm_store, "--out", tmp_path / "run")
    refused = run("train", clips_csv, *place, "--ema", "-1")
    assert refused.returncode == 2 and "ema must be at least 0, found -1.0" in refused.stderr
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    types = run(
        script=f"import runpy; runpy.run_path({str(tmp_path / 'scripts' / 'settings_types.py')!r}, run_name='__main__')"
    )
    assert types.returncode == 0 and "    ema: float\n" in (copy / "settings" / "types.py").read_text("utf-8")


def test_the_command_line_takes_every_setting(command: Command) -> None:
    for words, front in (("train", Training), ("evaluate", Evaluating)):
        text = command(words, "--help")[1]
        for name, one in front.fields().items():
            assert f"--{(one.metadata['option'] or name).replace('_', '-')}" in text, (words, name)
