"""The learner: a copy of a backbone with one tuning method, a cut, a head, and the weights that learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kshot.activations.activations import Activations, from_features
from kshot.activations.extraction import extract
from kshot.backbones.backbone import Backbone
from kshot.datasets import Dataset, load
from kshot.errors import CheckpointError, OptionError
from kshot.fewshot.learner import Learner


def test_a_frozen_backbone_is_read_behind_its_projection(backbone: Backbone) -> None:
    learner = Learner.frozen(backbone)
    assert learner.cut == backbone.depth + 1
    assert learner.weights() == {}
    values = np.random.default_rng(0).normal(size=(2, 3, backbone.embed_dim)).astype(np.float16)
    assert torch.equal(learner.embed(values), torch.from_numpy(values).float())


def test_building_leaves_the_backbone_as_it_came(backbone: Backbone, base: Activations) -> None:
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    learner = Learner.build(backbone, "partial")
    with torch.no_grad():
        for weight in learner.weights().values():
            weight += 1
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())
    assert not any(weight.requires_grad for weight in backbone.parameters())


@pytest.mark.parametrize(
    ("method", "options", "cut"),
    [("partial", {}, 3), ("partial", {"layers": 2}, 2), ("partial", {"layers": "proj"}, 3), ("full", {}, 0)],
)
def test_embeddings_from_the_cut_are_those_of_the_whole_tower(
    backbone: Backbone, clips_csv: Path, warm_store: Path, method: str, options: dict[str, object], cut: int
) -> None:
    """Untrained, every tuning starts at the backbone's own embeddings; what is stored decides the precision only."""
    learner = Learner.build(backbone, method, options)
    assert learner.cut == cut
    data = load(clips_csv).select("val")
    with torch.no_grad():
        frames = extract(data, backbone, "frames", warm_store).gather(range(4))
        expected = backbone(backbone.pixels(frames.reshape(-1, *frames.shape[2:]))).view(4, 8, -1)
        stored = extract(data, backbone, cut, warm_store)
        torch.testing.assert_close(learner.embed(stored.gather(range(4))), expected, rtol=0.02, atol=0.02)


def test_embed_all_equals_embedding_each(backbone: Backbone, base: Activations) -> None:
    learner = Learner.build(backbone, "partial")
    whole = learner.embed_all(base)
    assert not whole.requires_grad and whole.shape == (48, 8, backbone.embed_dim)
    with torch.no_grad():
        for clip in (0, 1, 33, 47):
            torch.testing.assert_close(whole[clip], learner.embed(base.gather([clip]))[0])
    assert learner.embed(base.gather([0])).requires_grad


def test_ready_made_features_are_the_embeddings() -> None:
    values = np.random.default_rng(1).normal(size=(4, 2, 5))
    data = Dataset("f", (), np.zeros(4, np.int64), ("a",), np.array([""] * 4), np.arange(4).astype(str), values)
    learner = Learner.frozen(None, "nearest")
    assert learner.cut is None and learner.weights() == {}
    np.testing.assert_allclose(learner.embed_all(from_features(data)).numpy(), values.astype(np.float32))


def test_weights_are_what_the_tuning_lets_learn(backbone: Backbone) -> None:
    assert list(Learner.build(backbone, "partial", {"layers": "proj"}).weights()) == [
        "backbone.image.projection.weight"
    ]
    both = Learner.build(backbone, "partial", {"layers": "proj"}, "clip-fsar").weights()
    assert {name.partition(".")[0] for name in both} == {"backbone", "head"}
    assert all(weight.requires_grad for weight in both.values())


def test_loading_puts_weights_in_place_and_refuses_others(backbone: Backbone) -> None:
    learner = Learner.build(backbone, "partial", head="clip-fsar")
    weights = {name: torch.randn_like(weight) for name, weight in learner.weights().items()}
    learner.load(weights, "here")
    assert all(torch.equal(learner.weights()[name], weights[name]) for name in weights)
    assert learner.head.trained
    lost = dict(weights)
    gone = lost.popitem()[0]
    with pytest.raises(CheckpointError, match=f"here holds other weights than this tuning and head train: {gone}"):
        learner.load(lost, "here")
    name = next(iter(weights))
    with pytest.raises(CheckpointError, match="holds other weights"):
        learner.load({**weights, name: torch.zeros(1)}, "here")


def test_another_head_keeps_its_own_weights(backbone: Backbone) -> None:
    learner = Learner.build(backbone, "partial", {"layers": "proj"}, "clip-fsar")
    head = {name: weight.clone() for name, weight in learner.weights().items() if name.startswith("head.")}
    name = "backbone.image.projection.weight"
    learner.load({name: torch.zeros_like(learner.weights()[name])}, "here", whole=False)
    assert bool((learner.weights()[name] == 0).all())
    assert all(torch.equal(learner.weights()[n], value) for n, value in head.items())
    assert not learner.head.trained, "nobody trained this head"


def test_wrong_names_are_answered_with_the_known_ones(backbone: Backbone) -> None:
    with pytest.raises(OptionError, match="unknown head 'protoype': did you mean 'prototype'"):
        Learner.frozen(backbone, "protoype")
    with pytest.raises(OptionError, match="unknown tuning method 'parital': did you mean 'partial'"):
        Learner.build(backbone, "parital")


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), None])
def test_weights_that_are_no_finite_numbers_are_refused(backbone: Backbone, odd: float | None) -> None:
    learner = Learner.build(backbone, "partial")
    before = {name: weight.detach().clone() for name, weight in learner.weights().items()}
    held = {name: weight.clone() for name, weight in before.items()}
    name = next(iter(held))
    held[name] = held[name].to(torch.int64) if odd is None else held[name].fill_(odd)
    with pytest.raises(CheckpointError, match=rf"run: {name} \((float32|int64)\) is not all finite numbers"):
        learner.load(held, "run")
    assert all(torch.equal(weight, before[name]) for name, weight in learner.weights().items())
