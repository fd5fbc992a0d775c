"""Ready-made features of any network, adapted: by all strategies, from where they stand, and only to their like."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forks import Command
from kshot import tuning
from kshot.activations.activations import from_features
from kshot.backbones.backbone import Backbone, load
from kshot.datasets import load as load_data
from kshot.errors import CheckpointError, DataError, KshotError, OptionError
from kshot.fewshot.evaluation import evaluate
from kshot.fewshot.learner import Learner
from kshot.fewshot.runs import read_config
from kshot.fewshot.strategies import STRATEGIES
from kshot.fewshot.training import train
from kshot.study import runner as study
from kshot.study.file import read_study
from kshot.study.forecast import forecast

CLASSES, CHANNELS, FRAMES = 40, 16, 3
SPLITS = ["train"] * 24 + ["val"] * 8 + ["test"] * 8
QUICK: dict[str, Any] = {"way": 3, "query": 2, "steps": 60, "val_every": 20, "val_episodes": 60, "lr": 0.03}


@pytest.fixture(scope="module")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classes that differ in four channels, under noise in all others: what adapting can learn to leave out."""
    draw = np.random.default_rng(0)
    centres = np.zeros((CLASSES, CHANNELS), np.float32)
    centres[:, :4] = draw.normal(size=(CLASSES, 4))
    label = np.repeat(np.arange(CLASSES), 12)
    noise = draw.normal(size=(len(label), FRAMES, CHANNELS)) * np.where(np.arange(CHANNELS) < 4, 0.5, 2.0)
    path = tmp_path_factory.mktemp("features") / "net.npz"
    np.savez(
        path, features=(centres[label][:, None] + noise).astype(np.float32),
        label=np.array([f"action {c:02}" for c in label]), split=np.array([SPLITS[c] for c in label]),
    )  # fmt: skip
    return path


def accuracy(npz: Path, run: Path | None, **more: Any) -> float:
    return evaluate(features=npz, adapted=run, way=3, query=2, episodes=400, **more).accuracy


@pytest.mark.parametrize("strategy", ["meta", "finetune", "finetune-meta"])
def test_adapting_learns_what_to_leave_out(npz: Path, tmp_path: Path, strategy: str) -> None:
    done = train(npz, tmp_path / "run", strategy=strategy, **QUICK)
    assert done.val_accuracy is not None and done.weights == CHANNELS * (CHANNELS + 1)
    assert accuracy(npz, tmp_path / "run") > accuracy(npz, None) + 2
    config = read_config(tmp_path / "run")
    assert config["backbone"]["name"] == f"features:{CHANNELS}" and config["frames"] == FRAMES


def test_a_residual_adapter_learns_in_place_of_the_layer(npz: Path, tmp_path: Path) -> None:
    how: dict[str, Any] = {"tuning": "clip-adapter", "tuning_options": {"ratio": 0.5}, "select": "none"}
    done = train(npz, tmp_path / "run", **QUICK | how)
    assert done.weights == 2 * CHANNELS * CHANNELS // 4
    assert accuracy(npz, tmp_path / "run") != accuracy(npz, None)


@pytest.mark.slow
def test_every_strategy_and_every_rule_of_selection(npz: Path, tmp_path: Path) -> None:
    for strategy in set(STRATEGIES) - {"frozen", "zero-shot"}:
        for select in ("val", "none"):
            folder = tmp_path / f"{strategy}-{select}"
            train(None, folder, features=npz, strategy=strategy, select=select, **QUICK | {"steps": 4, "val_every": 2})
            result = evaluate(features=npz, adapted=folder, way=3, query=2, episodes=5)
            assert (result.strategy, result.backbone) == (strategy, f"features:{CHANNELS}")
            assert result.fingerprint and result.options.tuning and result.options.frames is None


def test_it_begins_where_the_features_stand_and_is_one_linear_layer(npz: Path) -> None:
    data = load_data(npz)
    assert data.features is not None
    learner = Learner.build(load(f"features:{CHANNELS}"), "partial")
    part = from_features(data, learner.cut)
    torch.testing.assert_close(learner.embed_all(part), torch.from_numpy(data.features), rtol=0, atol=0)
    weight = torch.randn(CHANNELS, CHANNELS)
    with torch.no_grad():
        for name, value in learner.weights().items():
            value.copy_(weight if name.endswith("weight") else torch.arange(CHANNELS))
    expected = torch.from_numpy(data.features) @ weight.T + torch.arange(CHANNELS)
    torch.testing.assert_close(learner.embed_all(part), expected)


def test_a_stopped_run_goes_on_and_a_finished_one_is_left(npz: Path, tmp_path: Path) -> None:
    first = train(npz, tmp_path / "run", **QUICK)
    again = train(npz, tmp_path / "run", resume=True, **QUICK)
    assert (again.steps, again.val_accuracy) == (first.steps, first.val_accuracy)


@pytest.fixture(scope="module")
def run(npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    train(npz, folder, **QUICK | {"steps": 2, "val_every": 1})
    return folder


def _narrow(tmp_path: Path) -> Path:
    path = tmp_path / "narrow.npz"
    np.savez(path, features=np.random.default_rng(0).normal(size=(8, 2, 5)), label=np.array(["a", "b"] * 4))
    return path


def test_features_of_another_network_and_videos_are_refused(
    run: Path, npz: Path, clips_csv: Path, tmp_path: Path, backbone: Backbone
) -> None:
    cases: list[tuple[Callable[[], object], type[KshotError], str]] = [
        (lambda: evaluate(_narrow(tmp_path), adapted=run, split="all", way=2, query=1), DataError,
         "narrow holds features of 5 channels, run .* was trained on 16: give features of the same network"),
        (lambda: evaluate(clips_csv, adapted=run), DataError, "was trained on ready-made features: give features"),
        (lambda: evaluate(npz, backbone, adapted=run), OptionError, "ready-made features need no backbone"),
        (lambda: train(npz, tmp_path / "x", backbone=backbone), OptionError, "need no backbone: leave it out"),
        (lambda: train(npz, tmp_path / "x", views=2), OptionError, "one view of a clip: leave views out"),
        (lambda: train(npz, tmp_path / "x", tuning="full"), OptionError, "no layers but one linear layer on the feat"),
        (lambda: train(npz, tmp_path / "x", head="text", **QUICK), OptionError, "has no text side"),
        (lambda: train(npz, tmp_path / "x", features=npz), OptionError, "either data or features, found both"),
        (lambda: tuning.apply("partial", load("features:4"), layers="proj"), OptionError, "has no projection"),
        (lambda: load("features:many"), OptionError, "expected features: and a number of channels"),
    ]  # fmt: skip
    for call, error, text in cases:
        with pytest.raises(error, match=text):
            call()
    assert not (tmp_path / "x").exists()


def test_weights_of_another_size_are_no_run_of_these_features(run: Path, npz: Path) -> None:
    text = (run / "weights.safetensors").read_bytes()
    (run / "weights.safetensors").write_bytes(text[:-8] + bytes(8))
    with pytest.raises(CheckpointError, match=re.escape("weights.safetensors is damaged")):
        evaluate(npz, adapted=run)
    (run / "weights.safetensors").write_bytes(text)


def test_a_study_has_rows_on_features(npz: Path, tmp_path: Path) -> None:
    """Frozen and trained ones, as a forecast sees them too; no backbone is named."""
    file = tmp_path / "net.toml"
    file.write_text(
        f"data = ['{npz}']\nshots = [1]\nepisodes = 20\nway = 3\nquery = 2\n[train]\nsteps = 2\nval_episodes = 5\n"
        "[[row]]\nname = 'frozen'\n[[row]]\nname = 'meta'\nstrategy = 'meta'\n"
    )
    told = forecast(file)
    assert told["bytes"] == 0 and [row.get("error") for row in told["parts"][0]["rows"]] == [None, None]
    done = study.run(file, tmp_path / "out")
    assert not any(row.error for row in done.rows)
    assert {row.backbone for row in done.rows} == {f"features:{CHANNELS}"}
    mixed = replace(read_study(file), data=(str(npz), str(_narrow(tmp_path))))
    with pytest.raises(DataError, match="features of another network: take them apart"):
        study.run(mixed, tmp_path / "mixed")


def test_the_command(command: Command, npz: Path, tmp_path: Path) -> None:
    words = ("--steps", 2, "--way", 3, "--query", 2, "--val-episodes", 5)
    code, out, err = command("train", "--features", npz, "--out", tmp_path / "run", *words)
    assert code == 0 and "272 trained weights" in out, err
    code, out, err = command("evaluate", "--features", npz, "--adapted", tmp_path / "run", "--way", 3, "--episodes", 9)
    assert code == 0 and "features:16" in out, err
    code, out, err = command("train", "--out", tmp_path / "two")
    assert (code, out) == (2, "") and "expected either data or features, found neither" in err


@pytest.mark.parametrize(
    ("idle", "told"),
    [
        ({"frames": 4}, "frames would change nothing, leave it out"),
        ({"resize": "squash", "deinterlace": True}, "resize, deinterlace would change nothing, leave them out"),
        ({"dtype": "int8", "precision": "bfloat16"}, "dtype, precision would change nothing, leave them out"),
    ],
)
def test_settings_of_how_clips_are_seen_are_refused_of_features(
    npz: Path, tmp_path: Path, idle: dict[str, Any], told: str
) -> None:
    with pytest.raises(OptionError, match=f"holds ready-made features, which are as they were made: {told}"):
        evaluate(features=npz, episodes=5, **idle)
    with pytest.raises(OptionError, match=told):
        train(None, tmp_path / "run", features=npz, steps=1, **idle)
    assert not (tmp_path / "run").exists()


def test_settings_that_say_what_is_so_anyway_may_stand(npz: Path) -> None:
    so = {"frames": FRAMES, "resize": "short", "dtype": "float16", "precision": "float32"}
    assert evaluate(features=npz, episodes=5, **so).options.frames is None


def test_the_next_line_of_a_training_on_features_is_a_command_that_works(
    npz: Path, tmp_path: Path, command: Command
) -> None:
    run = tmp_path / "run"
    code, out, error = command("train", "--features", npz, "--out", run, "--steps", 1, "--way", 3, "--val-episodes", 2)
    assert code == 0, error
    line = out.splitlines()[-1]
    assert line == f"next: kshot evaluate --features FEATURES --adapted {run}"
    given = line.replace("FEATURES", str(npz)).split()[2:]
    assert command(*given, "--episodes", 2)[0] == 0


def test_a_val_accuracy_of_fewer_ways_says_so(npz: Path, tmp_path: Path, command: Command) -> None:
    few = tmp_path / "few.npz"
    with np.load(npz) as whole:
        keep = np.array(
            [split != "val" or label < "action 28" for split, label in zip(whole["split"], whole["label"], strict=True)]
        )
        np.savez(few, **{name: values[keep] for name, values in whole.items()})
    code, out, error = command("train", "--features", few, "--out", tmp_path / "r", "--steps", 1, "--val-episodes", 2)
    assert code == 0 and " % (4-way, chance 25 %) at step " in out
    assert "note: 4 val classes: all val episodes show the same 4 classes (4-way, chance 25 %), so what" in error
