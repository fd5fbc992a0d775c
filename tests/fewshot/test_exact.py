"""Training from frames with batch statistics: a miniature of RN50 beside PyTorch's own network in training mode."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from checkpoints import RESNET_CFG, TEXT_CFG, open_clip
from kshot.backbones.backbone import Backbone, load
from kshot.errors import OptionError
from kshot.fewshot.evaluation import evaluate
from kshot.fewshot.learner import Learner
from kshot.fewshot.training import train
from kshot.recognizer import Recognizer
from open_clips import OpenClip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("resnet") / "rn50"
    torch.manual_seed(0)
    net = open_clip(RESNET_CFG, TEXT_CFG)
    for name, value in [*net.named_parameters(), *net.named_buffers()]:
        if value.is_floating_point():
            torch.nn.init.normal_(value, 0.0 if value.dim() > 1 else 0.5, 0.1)
        if name.endswith("running_var"):
            value.abs_().add_(0.5)
    net.save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def net(folder: Path) -> Backbone:
    return load(folder)


def test_a_step_is_that_of_a_network_in_training_mode(net: Backbone, folder: Path) -> None:
    clips = np.random.default_rng(0).integers(0, 256, (6, 2, 64, 64, 3), dtype=np.uint8)
    learner = Learner.build(net, "partial", exact=True)
    assert learner.cut == 0 and learner.backbone is not None
    before = {name: value.clone() for name, value in learner.weights().items() if "running" in name}
    theirs = OpenClip.from_pretrained(folder).visual
    pixels = learner.backbone.pixels(torch.from_numpy(clips).flatten(0, 1))
    torch.testing.assert_close(learner.embed(clips).flatten(0, 1), theirs(pixels), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, learner.weights()[name]) for name, value in before.items()), "nothing drifts at test"
    learner.train()
    theirs.train()
    torch.testing.assert_close(learner.embed(clips).flatten(0, 1), theirs(pixels), rtol=1e-3, atol=1e-3)
    own = {name: value for name, value in learner.weights().items() if "running" in name}
    assert len(own) == len(before) > 20 and not any(torch.equal(own[name], before[name]) for name in own)
    total = sum(float(value.sum()) for value in own.values())
    expected = sum(float(value.sum()) for name, value in theirs.named_buffers() if "running" in name)
    assert total == pytest.approx(expected, rel=1e-4)
    assert not any(torch.equal(value, net.state_dict()[name.removeprefix("backbone.")]) for name, value in own.items())


def test_a_run_trains_from_frames_and_keeps_its_statistics(net: Backbone, clips_csv: Path, tmp_path: Path) -> None:
    few = {"way": 2, "query": 1, "steps": 2, "val_every": 1, "val_episodes": 2, "lr": 1e-2, "frames": 2}
    run = train(clips_csv, tmp_path / "run", backbone=net, exact=True, store=tmp_path / "store", **few)  # type: ignore[arg-type]
    frozen = sum(weight.numel() for weight in Learner.build(net, "partial").weights().values())
    assert run.weights == frozen, "statistics are no weights that learn"
    kept = load_file(tmp_path / "run" / "weights.safetensors")
    assert sum("running_mean" in name for name in kept) > 10
    keys = [key.read_text() for key in (tmp_path / "store").glob("*/key.json")]
    assert keys and all('"cut": 0' in key for key in keys), "no activations are stored"
    shape = {"way": 2, "query": 1, "episodes": 5, "store": tmp_path / "store"}
    result = evaluate(clips_csv, net, adapted=tmp_path / "run", **shape)  # type: ignore[arg-type]
    assert result.episodes == 5
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    train(clips_csv, tmp_path / "again", backbone=net, exact=True, resume=True, store=tmp_path / "store", **few)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="trained with exact, so its batch norms drifted"):
        Recognizer(adapted=tmp_path / "run", backbone=net).fit([clips_csv.parent / "a.mp4"] * 2, ["a", "b"])


def test_without_batch_norms_it_only_trains_from_frames(backbone: Backbone) -> None:
    learner = Learner.build(backbone, "partial", exact=True)
    assert learner.cut == 0 and not learner.drifting
    assert learner.weights().keys() == Learner.build(backbone, "partial").weights().keys()


def test_where_it_has_no_meaning_it_is_refused() -> None:
    with pytest.raises(OptionError, match="runs a few frames at a time"):
        Learner.build(load("lite"), "partial", exact=True)
    with pytest.raises(OptionError, match="ready-made features have none"):
        Learner.build(load("features:8"), "partial", exact=True)
