"""Costs: counts against formulas by hand and against PyTorch's own counter, bytes, memory, and how they are written."""

from __future__ import annotations

import gc
import json
import mmap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from blocks import make_block, tokens
from kshot import system, tuning
from kshot.activations.activations import Activations
from kshot.backbones.backbone import Backbone
from kshot.fewshot import cost
from kshot.fewshot.evaluation import Result, evaluate, machine
from kshot.fewshot.learner import Learner
from kshot.fewshot.result import Costs
from kshot.fewshot.strategies import get_strategy
from kshot.fewshot.training import train
from kshot.study import runner as study

FRAMES, TOKENS, WIDTH, MLP, PATCH, P, DEPTH = 8, 17, 32, 64, 3 * 8 * 8, 16, 3  # of tests/tiny.py
BLOCK = 4 * TOKENS * WIDTH**2 + 2 * TOKENS**2 * WIDTH + 2 * TOKENS * WIDTH * MLP  # qkv and out, attention, MLP
# one query and its out projection; keys and values moved to it; what heads of 8 channels see of the tokens; MLP
HEADS = WIDTH // 8
EXACT = 2 * WIDTH**2 + 2 * WIDTH**2 + 2 * HEADS * TOKENS * WIDTH + 2 * WIDTH * MLP
V_BIAS = WIDTH**2  # the values of the norm's bias, once for all rows


def test_a_clip_is_counted_as_by_hand(backbone: Backbone) -> None:
    frame = (TOKENS - 1) * PATCH * WIDTH + (DEPTH - 1) * BLOCK + EXACT + WIDTH * P
    assert cost.of_clip(backbone, FRAMES) == FRAMES * frame + V_BIAS


@pytest.mark.parametrize("name", tuning.TUNING)
def test_a_clip_is_counted_without_computing_as_if_it_were_computed(name: str, backbone: Backbone) -> None:
    own = backbone.copy()
    tuning.apply(name, own)
    pixels = torch.zeros(FRAMES, 3, 32, 32)
    with torch.no_grad():
        counted = cost.multiply_adds(lambda: own.encode_from(pixels, 0, FRAMES))
    assert cost.of_clip(own, FRAMES) == counted >= cost.of_clip(backbone, FRAMES)


def test_pytorchs_own_counter_agrees_where_it_knows_the_attention(backbone: Backbone) -> None:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone.copy().to("meta").encode_from(torch.empty(FRAMES, 3, 32, 32, device="meta"), 0, FRAMES)
    assert counter.get_total_flops() == 2 * cost.of_clip(backbone, FRAMES)


def test_attention_on_a_cpu_is_counted_forward_and_backward() -> None:
    q, k, v = (torch.randn(2, 3, 5, 8, requires_grad=True) for _ in range(3))
    product = 2 * 3 * 5 * 5 * 8

    def attend() -> None:
        torch.nn.functional.scaled_dot_product_attention(q, k, v).sum().backward()

    # two products forward; backward the gradients of both factors of both, and the logits once more
    assert cost.multiply_adds(attend) == (2 + 5) * product


def test_the_exact_last_block_is_counted_forward_and_backward() -> None:
    from kshot.backbones import last_block

    width, heads, count, rows, mlp = 24, 3, 7, 5, 4 * 24
    block = make_block(width, heads)
    n = tokens(rows, count, width)

    def run() -> None:
        last_block.forward(block, n, n[:, 0]).sum().backward()

    looks = heads * count * width  # a query of each head at all tokens
    forward = rows * (4 * width**2 + 2 * looks + 2 * width * mlp) + width**2
    # Back: two products for each of the forward ones, but no gradient for the tokens and for the query's input: q_proj
    # has its weight and its input (the norm learns), and each look has one with respect to its weights and its query.
    backward = rows * (8 * width**2 + 2 * looks + 4 * width * mlp) + 2 * width**2
    assert cost.multiply_adds(run) == forward + backward


def test_a_training_step_counts_what_is_computed_from_its_cut(
    tmp_path: Path, clips_csv: Path, warm_store: Path, backbone: Backbone
) -> None:
    """Projection alone, finetuned on 6 clips: two products of the projection and of the classifier's cosines."""
    shared: dict[str, Any] = {"backbone": backbone, "store": warm_store, "steps": 2, "select": "none"}
    train(
        clips_csv,
        tmp_path / "run",
        strategy="finetune",
        layers="proj",
        strategy_options={"batch": 6},
        **shared,
        accumulate=2,
    )
    found = json.loads((tmp_path / "run" / "config.json").read_text())["result"]
    rows, classes = 6 * FRAMES, 6
    block = rows * EXACT + V_BIAS
    projection = rows * WIDTH * P
    cosines = 6 * classes * P
    assert found["multiply_adds_per_step"] == 2 * (block + 2 * projection + 3 * cosines)
    assert found["trained_parameters"] == found["stored_parameters"] == WIDTH * P
    assert found["seconds_per_step"] > 0 and found["device"] == "cpu"
    assert found["stored_bytes"] == 48 * FRAMES * (TOKENS + 1) * WIDTH * 2  # 6 classes of 8 clips, float16


def test_counting_a_step_leaves_no_gradients(base: Activations, backbone: Backbone) -> None:
    learner = Learner.build(backbone, "partial")
    weights = learner.weights()
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    objective = get_strategy("meta", way=3, query=2).objective(learner, base, lambda: torch.zeros(0), 0)
    state = torch.random.get_rng_state()
    once = cost.of_step(objective, weights)
    assert cost.of_step(objective, weights, batches=30, accumulate=3) == 3 * once > 0
    assert all(weight.grad is None and torch.equal(weight, before[name]) for name, weight in weights.items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_stages_count_by_their_length(base: Activations, backbone: Backbone) -> None:
    learner = Learner.build(backbone, "partial")

    def step(name: str, batches: int = 1, **options: Any) -> int:
        objective = get_strategy(name, **options).objective(learner, base, lambda: torch.zeros(0), 0)
        return cost.of_step(objective, learner.weights() | dict(objective.extra), batches)

    finetune, meta = step("finetune", batch=6), step("meta", way=3, query=2)
    two = {"batch": 6, "way": 3, "query": 2, "first": 4}
    assert finetune != meta
    assert step("finetune-meta", batches=16, **two) == round((4 * finetune + 12 * meta) / 16)
    assert step("finetune-meta", batches=3, **two) == finetune  # stopped before the episodes began


def test_direct_is_counted_by_the_step_inside_an_episode(base: Activations, backbone: Backbone) -> None:
    learner = Learner.build(backbone, "partial", {"layers": "proj"})
    labels = np.arange(3)
    support, query = base.gather([0, 8, 16]), base.gather([1, 9])
    found = cost.of_episode(get_strategy("direct"), learner, support, labels, query, 3)
    rows = 3 * FRAMES
    assert found is not None and found[0] == rows * EXACT + V_BIAS + 2 * rows * WIDTH * P + 3 * 3 * 3 * P
    assert found[1] >= 0
    assert cost.of_episode(get_strategy("frozen"), learner, support, labels, query, 3) is None


def test_bytes_stored_are_those_on_disk(base: Activations) -> None:
    assert base.store is not None
    each = base.gather([0]).nbytes
    assert cost.stored_bytes(base) == 48 * each
    seen = np.array([[0, 1, 2]] * 24 + [[0, 0, 0]] * 24)  # clips without a view of their own have view 0
    assert cost.stored_bytes(replace(base, views=(base.store,) * 3, seen=seen)) == (48 + 24 * 2) * each
    held = sum(p.stat().st_size for p in base.store.folder.rglob("*.npy"))
    assert held >= cost.stored_bytes(base) > 0.9 * held - 128 * each


def high() -> int:
    """The peak of this process, as the system tells its owner."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


@contextmanager
def held(size: int) -> Iterator[None]:
    """So many bytes more of this process, from the system and back to it.

    An array will not do: where a library has left a large heap, it is cut from that, and nothing rises or falls.
    """
    pages = mmap.mmap(-1, size)
    for place in range(0, size, mmap.PAGESIZE):
        pages[place] = 1
    try:
        yield
    finally:
        pages.close()


LINUX = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can set the peak back")


@LINUX
def test_in_a_commands_own_process_the_peak_is_of_what_came_after() -> None:
    with cost.own_process():
        before = cost.Peak()
        with held(200_000_000):
            first = before.read()
        after = cost.Peak().read()
    assert first is not None and after is not None and first - after > 150e6


@LINUX
def test_a_callers_own_peak_is_left_alone_and_that_of_the_call_is_told(clips_csv: Path, backbone: Backbone) -> None:
    with held(480_000_000):  # the caller's own
        own = high()
    peak = cost.Peak()
    with held(160_000_000):  # less than the caller had
        until = time.monotonic() + 60
        while peak._seen["cpu"] < (system.used_memory() or 0) - 1e7 and time.monotonic() < until:
            time.sleep(cost.SAMPLED)
    told = peak.read()
    assert told is not None and own - 420e6 < told < own - 250e6
    result = evaluate(clips_csv, backbone, way=3, query=2, episodes=5)
    assert high() >= own - 1e6  # the system's own count is exact to some pages
    assert result.cost.peak_memory < own - 300e6
    with held(720_000_000):  # more than it ever had: then the system's own figure is exact
        pass
    told = peak.read()
    assert told is not None and told == high() > own


def test_looks_at_memory_end_with_what_asked_for_them() -> None:
    def looking() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "kshot memory"}

    before = looking()  # those of other tests may end at any moment
    peak = cost.Peak()
    (mine,) = looking() - before
    del peak
    gc.collect()
    mine.join(30)
    assert not mine.is_alive()


def test_where_the_peak_cannot_be_set_back_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    with cost.own_process():
        told = cost.Peak().read()
    assert told is None or told > 1e7


def test_evaluation_tells_its_cost_apart_from_extraction(clips_csv: Path, backbone: Backbone, tmp_path: Path) -> None:
    def run() -> Result:
        return evaluate(clips_csv, backbone, way=3, query=2, episodes=5, store=tmp_path)

    first, second = run(), run()
    assert first.cost.extraction_seconds > 5 * second.cost.extraction_seconds
    assert first.cost.evaluation_seconds + first.cost.extraction_seconds <= first.seconds + 0.01
    assert first.cost.multiply_adds_per_clip == cost.of_clip(backbone, FRAMES)
    assert first.cost.stored_bytes == 32 * FRAMES * P * 2  # embeddings of 4 classes of 8 clips, float16
    assert (first.cost.device, first.cost.precision) == ("cpu", "float32")
    first.save(tmp_path / "result.json")
    assert json.loads((tmp_path / "result.json").read_text())["cost"] == first.cost.model_dump(exclude_unset=True)


def test_features_cost_no_multiply_adds(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(8, 2, 3)).astype(np.float32)
    np.savez(tmp_path / "f.npz", features=values, label=np.array(list("aaaabbbb")))
    found = evaluate(features=tmp_path / "f.npz", way=2, query=1, episodes=3, split="all").cost
    assert found.stored_bytes == values.nbytes and found.multiply_adds_per_clip is None


def test_the_machine_is_told() -> None:
    found = machine()
    assert {"python", "torch", "transformers", "system", "processor", "cores", "threads"} <= set(found)
    assert all(isinstance(value, str) and value for value in found.values())


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("trained_parameters", 121248.0, "121,248"),
        ("trained_parameters", 86_192_640, "86.2 M"),
        ("trained_parameters", 0, "–"),
        ("multiply_adds_per_clip", 266_993_664, "267 M"),
        ("multiply_adds_per_step", 999_600, "1.00 M"),
        ("multiply_adds_per_step", 12_340_000_000_000, "12.3 T"),
        ("multiply_adds_per_step", None, "–"),
        ("stored_bytes", 221_184, "221 kB"),
        ("stored_bytes", 0, "0 B"),
        ("peak_memory", 1_234_567_890, "1.23 GB"),
        ("seconds_per_step", 0.0123, "0.012"),
        ("training_seconds", 61.44, "61.4"),
        ("evaluation_seconds", 1234.5, "1,234.5"),
    ],
)
def test_values_are_written_short(key: str, value: float | None, text: str) -> None:
    assert cost.written(Costs(**{key: value}), key) == text


def test_rows_join_training_and_evaluation() -> None:
    result: Any = SimpleNamespace(split="test")
    result.cost = Costs(stored_bytes=5, peak_memory=7, extraction_seconds=1.0)
    trained = {"trained_parameters": 3, "stored_bytes": 20, "peak_memory": 4, "extraction_seconds": 2.0}
    found = study._costs(trained, result)
    assert (found.stored_bytes, found.peak_memory, found.extraction_seconds) == (25, 7, 3.0)
    assert found.multiply_adds_per_step is None  # a run of an older version does not tell
    result.split = "all"
    assert study._costs(trained, result).stored_bytes == 20
    assert study._costs({}, result).trained_parameters == 0
