"""The penalty that keeps weights near where they began: against ProLIP's loss written in a few lines of plain torch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kshot.activations.activations import Activations
from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from kshot.fewshot import runs
from kshot.fewshot.fit import fit
from kshot.fewshot.learner import Learner
from kshot.fewshot.penalty import pulled
from kshot.fewshot.strategies import get_strategy
from kshot.fewshot.strategies.direct import Direct
from kshot.fewshot.training import train
from kshot.settings import EpisodeShape, Schedule, penalty_of

WAY, SHOT = 3, 2
LABELS = np.repeat(np.arange(WAY), SHOT)


def support_of(base: Activations) -> list[int]:
    return [clip for c in range(WAY) for clip in np.flatnonzero(base.data.labels == c)[:SHOT].tolist()]


@pytest.mark.parametrize("layers", ["proj", "block"])
def test_direct_with_it_is_prolip_and_its_twin(backbone: Backbone, base: Activations, layers: str) -> None:
    support = base.gather(support_of(base))
    learner = Learner.build(backbone, "partial", {"layers": layers})
    scores = Direct(steps=3, lr=3e-3, penalty="1/N").scores(learner, support, LABELS, support, WAY)
    free = Direct(steps=3, lr=3e-3).scores(learner, support, LABELS, support, WAY)
    other = Learner.build(backbone, "partial", {"layers": layers})
    weights, target = list(other.weights().values()), torch.from_numpy(LABELS)
    first = [weight.detach().clone() for weight in weights]
    pooled = F.normalize(other.embed(support).mean(1), dim=1).detach()
    classes = torch.stack([pooled[target == c].mean(0) for c in range(WAY)]).requires_grad_()
    optimizer = torch.optim.Adam([{"params": [classes], "lr": 3e-2}, {"params": weights}], lr=3e-3)
    for _ in range(3):
        optimizer.zero_grad()
        logits = 20 * F.normalize(other.embed(support).mean(1), dim=1) @ F.normalize(classes, dim=1).T
        loss = F.cross_entropy(logits, target)
        for weight, start in zip(weights, first, strict=True):
            loss = loss + F.mse_loss(weight, start, reduction="sum") / SHOT
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        expected = 20 * F.normalize(other.embed(support).mean(1), dim=1) @ F.normalize(classes, dim=1).T
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
    assert (scores - free).abs().max() > 1e-3  # the penalty does something


@pytest.mark.parametrize("strategy", ["finetune", "meta", "finetune-meta"])
def test_the_losses_of_training_contain_it(backbone: Backbone, base: Activations, strategy: str) -> None:
    learner = Learner.build(backbone, "partial", {"layers": "proj"}, "meta-baseline")
    options = get_strategy(strategy).implied(EpisodeShape(way=3, shot=1, query=2), Schedule(steps=2))
    bare = get_strategy(strategy, **options).objective(learner, base, lambda: torch.empty(0), 0)
    objective = pulled(bare, learner.weights(), 0.5)
    assert objective.loss(0) == bare.loss(0)  # nothing has moved yet
    with torch.no_grad():
        for weight in learner.weights().values():  # a temperature of the head too, which has no pretrained value
            weight += 0.1
    (projection,) = (weight for name, weight in learner.weights().items() if name.startswith("backbone."))
    gap = float((objective.loss(0) - bare.loss(0)).detach())
    assert gap == pytest.approx(0.5 * projection.numel() * 0.1**2, rel=1e-4)
    with torch.no_grad():
        for weight in learner.weights().values():
            weight -= 0.1


def test_a_strong_one_keeps_weights_in_place(backbone: Backbone, base: Activations) -> None:
    def distance(penalty: float) -> float:
        learner = Learner.build(backbone, "partial")
        first = {name: weight.detach().clone() for name, weight in learner.weights().items()}
        objective = get_strategy("meta", way=3, query=2).objective(learner, base, lambda: torch.empty(0), 0)
        objective = pulled(objective, learner.weights(), penalty)
        fit(learner.weights(), objective.loss, Schedule(steps=20, lr=1e-3, optimizer="sgd", schedule="constant"))
        return sum(float((weight - first[name]).square().sum().detach()) for name, weight in learner.weights().items())

    free, held = distance(0), distance(10)
    assert 0 < held < 0.5 * free


@pytest.mark.slow
def test_a_run_says_it_and_runs_without_go_on(clips_csv: Path, backbone: Backbone, tmp_path: Path) -> None:
    few = {"way": 2, "query": 1, "steps": 2, "val_every": 2, "val_episodes": 2, "store": tmp_path / "store"}
    train(clips_csv, tmp_path / "run", backbone=backbone, penalty="1/N", **few)  # type: ignore[arg-type]
    assert runs.read_run(tmp_path / "run").config["schedule"]["penalty"] == "1/N"
    direct = {"strategy": "direct", "shot": 2, "penalty": "1/N", **few}
    train(clips_csv, tmp_path / "direct", backbone=backbone, **direct)  # type: ignore[arg-type]
    config = json.loads((tmp_path / "direct" / "config.json").read_text())
    assert config["strategy"]["options"]["penalty"] == "1/N"
    # A run of a version without it, whose config does not name it:
    direct["penalty"] = 0
    train(clips_csv, tmp_path / "old", backbone=backbone, **direct)  # type: ignore[arg-type]
    config = json.loads((tmp_path / "old" / "config.json").read_text())
    del config["strategy"]["options"]["penalty"], config["schedule"]["penalty"], config["seal"]
    (tmp_path / "old" / "config.json").write_text(json.dumps(config))
    train(clips_csv, tmp_path / "old", backbone=backbone, resume=True, **direct)  # type: ignore[arg-type]


@pytest.mark.parametrize("penalty", ["1/n", "-1", -0.5, "nan", True])
def test_another_penalty_is_refused(penalty: float | str) -> None:
    with pytest.raises(OptionError, match="penalty"):
        Schedule(penalty=penalty)
    with pytest.raises(OptionError, match="penalty"):
        Direct(penalty=penalty)


def test_numbers_may_be_texts() -> None:
    assert Schedule(penalty="0.25").penalty == 0.25 == penalty_of("0.25", 3)
    assert penalty_of("1/N", 4) == 0.25
    assert replace(Schedule(), penalty="1/N").penalty == "1/N"
