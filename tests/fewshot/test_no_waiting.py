"""Nothing in a training step waits for the device: counted by PyTorch itself on a GPU, by its operations on a CPU."""

from __future__ import annotations

from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kshot.activations import feed
from kshot.activations.activations import Activations
from kshot.activations.extraction import extract
from kshot.activations.feed import Feed
from kshot.backbones.backbone import Backbone, load
from kshot.backbones.texts import Wording
from kshot.datasets import load as load_data
from kshot.fewshot import fit
from kshot.fewshot.learner import Learner
from kshot.fewshot.strategies import get_strategy
from kshot.fewshot.texts import class_texts
from kshot.settings import Schedule, Selection

aten = torch.ops.aten
WAITING = {
    aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.equal.default,
    aten.unique_dim.default, aten._unique2.default, aten.repeat_interleave.Tensor,
}  # fmt: skip


class Waits(TorchDispatchMode):
    """Counts operations whose result has a size or a value that the host must know."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        masked = func is aten.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])
        if func in WAITING or masked:
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


def loop(backbone: Backbone, base: Activations, strategy: str, head: str) -> fit._Loop:
    learner = Learner.build(backbone, "partial", {}, head)
    chosen = get_strategy(strategy, **({"way": 3, "shot": 2, "query": 2} if strategy == "meta" else {}))
    texts = class_texts(learner, base.data.classes, Wording.of("a video of {}.")) if learner.head.needs_text else None
    objective = chosen.objective(learner, base, texts or (lambda: torch.empty(0)), 0)
    learner.train()
    learner.head.trained = True
    weights = learner.weights()
    schedule = Schedule(steps=3, max_grad_norm=1.0)
    return fit._Loop(weights, objective.extra, objective.loss, schedule, Selection(), None, None, {})


@pytest.fixture(scope="module")
def base(clips_csv: Path, backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Activations:
    return extract(load_data(clips_csv).select("train"), backbone, store=tmp_path_factory.mktemp("store"), workers=0)


@pytest.mark.parametrize(("strategy", "head"), [("meta", "prototype"), ("meta", "otam"), ("finetune", "prototype")])
def test_a_step_waits_for_nothing(
    backbone: Backbone, base: Activations, strategy: str, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = loop(backbone, base, strategy, head)
    monkeypatch.setattr(fit._Loop, "_total", lambda self, losses, step: 0.0)  # reads the loss: after the step on a GPU
    one._launch(0)  # what is made once may be looked at once
    monkeypatch.setattr(one.optimizer, "step", lambda: None)  # its numbers of steps lie on the CPU anyway
    with Waits() as waits:
        one._launch(1)
    assert waits.found == []


def test_the_counter_counts() -> None:
    with Waits() as waits:
        x = torch.arange(4)
        float(x[1])
        x[x > 1]
        x.nonzero()
    assert len(waits.found) == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="counts on a GPU")
@pytest.mark.parametrize(("strategy", "head"), [("meta", "prototype"), ("meta", "otam"), ("finetune", "prototype")])
def test_a_step_on_a_gpu_synchronises_nothing(clip_folder: Path, base: Activations, strategy: str, head: str) -> None:
    one = loop(load(clip_folder, device="cuda"), base, strategy, head)
    one._step(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses = one._launch(1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert np.isfinite(one._total(losses, 1))


@pytest.mark.parametrize("views", [1, 3])
def test_what_is_fed_is_what_is_gathered(base: Activations, views: int) -> None:
    """Kept on the device, read ahead, and read when asked for: the same numbers, in any order of batches."""
    if views > 1:
        assert base.store is not None
        base = replace(base, views=(base.store,) * 2, seen=np.arange(len(base.data) * views).reshape(-1, views) % 2)
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, len(base.data), 5).tolist() for _ in range(8)]
    cpu = torch.device("cpu")
    plain = Feed(base, cpu, batches.__getitem__, 7)
    kept = Feed(base, cpu, batches.__getitem__, 7, free=10**12)
    ahead = Feed(base, cpu, [*batches, *batches].__getitem__, 7, free=0)
    assert kept.kept and kept.notes == () and not plain.kept and not ahead.kept
    assert "do not fit on cpu beside the rest (0.0 GB free): they are read ahead" in ahead.notes[0]
    for number in (0, 1, 2, 5, 4, 4, 0):
        expected = base.gather(batches[number], visit=(7, number))
        for one in (plain, kept, ahead):
            np.testing.assert_array_equal(np.asarray(one(number)), expected)


def test_training_from_what_is_fed_gives_the_same_weights(
    backbone: Backbone, base: Activations, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for free in (None, 10**12, 0):
        monkeypatch.setattr(feed.Feed, "__init__", partialmethod(Feed.__init__, free=free))
        one = loop(backbone, base, "meta", "prototype")
        losses = [one._step(step) for step in range(2)]
        made.append((losses, [weight.detach().clone() for weight in one.weights.values()]))
        monkeypatch.undo()
    for losses, weights in made[1:]:
        assert losses == made[0][0]
        assert all(torch.equal(*pair) for pair in zip(weights, made[0][1], strict=True))
