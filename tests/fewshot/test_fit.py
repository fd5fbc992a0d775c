"""The training loop: what it computes, what it keeps, and that a stopped run goes on as if nothing had happened."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from forks import Forks
from kshot.errors import CheckpointError, KshotError, OptionError
from kshot.fewshot.fit import Fitted, load_tensors, save_tensors
from kshot.fewshot.fit import fit as training_loop
from kshot.settings import Schedule, Selection

PLAN = Schedule(steps=12, lr=0.05, warmup=2)
fit = partial(training_loop, selection=Selection(val_every=4))


def task() -> tuple[dict[str, Tensor], dict[str, Tensor], Callable[[int], Tensor], Callable[[], float]]:
    """Weights, extra weights, a loss that also draws at random (as dropout does), and an accuracy."""
    draw = torch.Generator().manual_seed(0)
    truth = torch.randn(3, 4, generator=draw)
    weights = {"w": torch.zeros(3, 4, requires_grad=True)}
    extra = {"bias": torch.zeros(3, requires_grad=True)}

    def loss(index: int) -> Tensor:
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(index))
        dropped = x * (torch.rand(8, 4) > 0.2)
        return ((dropped @ weights["w"].T + extra["bias"] - x @ truth.T) ** 2).mean()

    def accuracy() -> float:
        return 100 - float(((weights["w"].detach() - truth) ** 2).mean())

    return weights, extra, loss, accuracy


def metrics(folder: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl without their times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def trained(folder: Path, plan: Schedule = PLAN, resume: bool = False) -> Fitted:
    folder.mkdir(exist_ok=True)
    weights, extra, loss, accuracy = task()
    return fit(weights, loss, plan, accuracy, folder, resume, {"bias": 0.5}, extra=extra)


def same(left: Path, right: Path) -> None:
    """Two folders hold the same weights bit for bit, the same checkpoint and the same metrics."""
    for name in ("weights.safetensors", "checkpoint.safetensors"):
        one, two = load_tensors(left / name)[0], load_tensors(right / name)[0]
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one), name
    assert metrics(left) == metrics(right)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("stop", [0, 3, 6, 11])
def test_stopped_by_ctrl_c_and_resumed_equals_straight(tmp_path: Path, optimizer: str, stop: int) -> None:
    """Ctrl-C arrives inside a step: the step is finished, written down, and the run goes on from there."""
    plan = replace(PLAN, optimizer=optimizer, accumulate=2)
    trained(tmp_path / "straight", plan)
    weights, extra, loss, accuracy = task()
    (tmp_path / "stopped").mkdir()

    def pressed(index: int) -> Tensor:
        if index == 2 * stop:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(index)

    with pytest.raises(KeyboardInterrupt):
        fit(weights, pressed, plan, accuracy, tmp_path / "stopped", False, {"bias": 0.5}, extra=extra)
    assert metrics(tmp_path / "stopped")[-1]["step"] == stop + 1
    _, about = load_tensors(tmp_path / "stopped" / "checkpoint.safetensors")
    assert json.loads(about["fit"])["step"] == stop + 1, "nothing is done twice"
    trained(tmp_path / "stopped", plan, resume=True)
    same(tmp_path / "straight", tmp_path / "stopped")


def test_ctrl_c_while_validating_loses_nothing(tmp_path: Path) -> None:
    trained(tmp_path / "straight")
    weights, extra, loss, accuracy = task()
    (tmp_path / "stopped").mkdir()
    looks: list[int] = []

    def pressed() -> float:
        looks.append(1)
        if len(looks) == 2:  # the look at step 4
            os.kill(os.getpid(), signal.SIGINT)
        return accuracy()

    with pytest.raises(KeyboardInterrupt):
        fit(weights, loss, PLAN, pressed, tmp_path / "stopped", rates={"bias": 0.5}, extra=extra)
    trained(tmp_path / "stopped", resume=True)
    same(tmp_path / "straight", tmp_path / "stopped")


def test_a_second_ctrl_c_ends_at_once_and_the_handler_is_put_back() -> None:
    weights, _, loss, _ = task()

    def impatient(index: int) -> Tensor:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not reached")

    with pytest.raises(KeyboardInterrupt):
        fit(weights, impatient, PLAN)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    fit(weights, loss, PLAN)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_trains_in_a_thread_too(tmp_path: Path) -> None:
    thread = threading.Thread(target=trained, args=(tmp_path / "thread",))
    thread.start()
    thread.join()
    trained(tmp_path / "main")
    same(tmp_path / "main", tmp_path / "thread")


def test_killed_and_resumed_equals_straight(forks: Forks, tmp_path: Path) -> None:
    """SIGKILL in another process, in the middle of step 10 of 12, two steps after the last checkpoint."""
    script = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/fewshot"]
import test_fit
weights, extra, loss, accuracy = test_fit.task()
def deadly(index):
    if index == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(index)
test_fit.fit(weights, deadly, test_fit.PLAN, accuracy, Path(sys.argv[2]), rates={"bias": 0.5}, extra=extra)
"""
    (tmp_path / "killed").mkdir()
    done = forks(script, Path(__file__).parents[1], tmp_path / "killed")
    assert done.returncode == -signal.SIGKILL
    assert metrics(tmp_path / "killed")[-1]["step"] == 9
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "lo')  # as a kill in the middle of a line would leave it
    trained(tmp_path / "killed", resume=True)
    trained(tmp_path / "straight")
    same(tmp_path / "straight", tmp_path / "killed")


def test_resuming_a_run_without_checkpoint_begins_anew(tmp_path: Path) -> None:
    trained(tmp_path / "straight")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "metrics.jsonl").write_text('{"step": 0, "val_accuracy": 1.0}\n{"step": 1, "loss"')
    trained(tmp_path / "torn", resume=True)
    same(tmp_path / "straight", tmp_path / "torn")


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    first = trained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = trained(tmp_path, resume=True)
    assert (again.best_step, again.best_val, again.steps) == (first.best_step, first.best_val, first.steps)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def scripted(values: list[float]) -> Callable[[], float]:
    answers: Iterator[float] = iter(values)
    return lambda: next(answers)


@pytest.mark.parametrize(
    ("accuracies", "best_step"),
    [([50.0, 40.0, 60.0, 55.0], 8), ([70.0, 40.0, 60.0, 55.0], 0), ([50.0, 60.0, 60.0, 60.0], 4)],
)
def test_keeps_the_first_of_the_best_on_val(tmp_path: Path, accuracies: list[float], best_step: int) -> None:
    """Step 0, the untrained weights, takes part; of equals the first is kept."""
    weights, _, loss, _ = task()
    fitted = fit(weights, loss, PLAN, scripted(accuracies), tmp_path)
    assert (fitted.best_step, fitted.best_val, fitted.steps) == (best_step, max(accuracies), 12)
    assert [look["step"] for look in fitted.history] == [0, 4, 8, 12]
    alone, _, alone_loss, _ = task()
    if best_step:  # a run of the same schedule, cut off at the best step
        fit(alone, alone_loss, PLAN, scripted([float(s == best_step) for s in (0, 4, 8, 12)]))
    assert torch.equal(weights["w"], alone["w"])
    assert torch.equal(load_tensors(tmp_path / "weights.safetensors")[0]["w"], weights["w"])


def test_without_val_the_last_weights_are_kept(tmp_path: Path) -> None:
    weights, _, loss, _ = task()
    fitted = fit(weights, loss, PLAN, None, tmp_path)
    assert (fitted.best_step, fitted.best_val) == (12, None)
    last = load_tensors(tmp_path / "checkpoint.safetensors")[0]["weight.w"]
    assert torch.equal(weights["w"], last) and bool((last != 0).any())


def test_patience_ends_training() -> None:
    weights, _, loss, _ = task()
    plan, patient = replace(PLAN, steps=100), Selection(val_every=2, patience=3)
    fitted = fit(weights, loss, plan, scripted([50, 40, 60, 60, 59, 58, 99]), selection=patient)
    assert (fitted.steps, fitted.best_step, fitted.best_val) == (10, 4, 60)


def test_patience_is_remembered_by_a_resumed_run(tmp_path: Path) -> None:
    """Two of three looks without a gain lie before the stop, one behind it."""
    plan, patient = replace(PLAN, steps=100), Selection(val_every=2, patience=3)
    weights, _, loss, _ = task()

    def pressed(index: int) -> Tensor:
        if index == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(index)

    with pytest.raises(KeyboardInterrupt):
        fit(weights, pressed, plan, scripted([50, 60, 59, 58]), tmp_path, selection=patient)
    fitted = fit(weights, loss, plan, scripted([57, 99]), tmp_path, resume=True, selection=patient)
    assert (fitted.steps, fitted.best_step, fitted.best_val) == (8, 2, 60)


def quadratic(batches: int) -> tuple[Tensor, Callable[[int], Tensor]]:
    """A loss that is a mean over rows, `batches` a call: call i covers rows i * batches to (i + 1) * batches."""
    weight = torch.ones(4, requires_grad=True)
    rows = torch.randn(24, 4, generator=torch.Generator().manual_seed(3))

    def loss(index: int) -> Tensor:
        part = rows[index * batches : (index + 1) * batches]
        return ((part @ weight - 1) ** 2).mean()

    return weight, loss


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_accumulated_batches_equal_one_large_batch(optimizer: str) -> None:
    small, small_loss = quadratic(2)
    large, large_loss = quadratic(6)
    plan = Schedule(steps=4, lr=0.1, optimizer=optimizer)
    fit({"w": small}, small_loss, replace(plan, accumulate=3))
    fit({"w": large}, large_loss, plan)
    torch.testing.assert_close(small, large, rtol=1e-5, atol=1e-6)
    assert bool(((large - 1).abs() > 0.05).any())


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("adam", torch.optim.Adam, {"weight_decay": 0.1}),
        ("adamw", torch.optim.AdamW, {"weight_decay": 0.1}),
        ("sgd", torch.optim.SGD, {"weight_decay": 0.1, "momentum": 0.9}),
    ],
)
def test_descends_as_the_optimizer_does(
    name: str, kind: type[torch.optim.Optimizer], options: dict[str, float]
) -> None:
    ours, our_loss = quadratic(4)
    theirs, their_loss = quadratic(4)
    fit({"w": ours}, our_loss, Schedule(steps=6, lr=0.1, optimizer=name, weight_decay=0.1, schedule="constant"))
    optimizer = kind([theirs], lr=0.1, **options)  # type: ignore[call-arg]
    for index in range(6):
        optimizer.zero_grad()
        their_loss(index).backward()
        optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_schedule_by_hand() -> None:
    cosine = Schedule(steps=10, warmup=2)
    expected = [0.5, 1.0] + [0.5 * (1 + math.cos(math.pi * i / 8)) for i in range(8)]
    assert [cosine.factor(step) for step in range(10)] == pytest.approx(expected)
    assert cosine.factor(2) == 1.0 and cosine.factor(6) == pytest.approx(0.5)
    constant = Schedule(steps=10, schedule="constant", warmup=4)
    assert [constant.factor(step) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_rates_and_the_schedule_scale_the_steps() -> None:
    """Plain gradient descent on a sum: each step moves a weight by its rate exactly."""
    weights = {name: torch.zeros((), requires_grad=True) for name in ("slow", "fast")}
    plan = Schedule(steps=4, lr=0.5, optimizer="sgd", momentum=0.0, schedule="constant", warmup=2)
    fit(weights, lambda _: weights["slow"] + weights["fast"], plan, rates={"fast": 10.0})
    assert weights["slow"].item() == pytest.approx(-0.5 * (0.5 + 1 + 1 + 1))
    assert weights["fast"].item() == pytest.approx(-5.0 * (0.5 + 1 + 1 + 1))


def test_clip_bounds_the_gradient_over_all_weights() -> None:
    weights = {"a": torch.zeros(1, requires_grad=True), "b": torch.zeros(1, requires_grad=True)}
    plan = Schedule(steps=1, lr=1.0, optimizer="sgd", schedule="constant", max_grad_norm=1.0)
    fit(weights, lambda _: (30 * weights["a"] + 40 * weights["b"]).sum(), plan)
    assert [w.item() for w in weights.values()] == pytest.approx([-0.6, -0.8], rel=1e-4)


def test_extra_weights_learn_but_are_not_kept(tmp_path: Path) -> None:
    weights, extra, loss, accuracy = task()
    fit(weights, loss, PLAN, accuracy, tmp_path, extra=extra)
    assert bool((extra["bias"] != 0).any())
    assert load_tensors(tmp_path / "weights.safetensors")[0].keys() == {"w"}
    assert {"weight.w", "weight.bias"} <= load_tensors(tmp_path / "checkpoint.safetensors")[0].keys()


def test_a_loss_that_is_not_finite_ends_training_with_the_best_so_far(tmp_path: Path) -> None:
    weights, _, loss, _ = task()
    with pytest.raises(KshotError, match=r"the loss became nan at step 7; nothing after step 4 was kept: lower"):
        fit(weights, lambda i: loss(i) * (math.nan if i == 6 else 1), PLAN, scripted([1.0, 2.0]), tmp_path)
    assert all(math.isfinite(value) for line in metrics(tmp_path) for value in line.values())
    assert metrics(tmp_path)[-1]["step"] == 6
    assert bool(torch.isfinite(load_tensors(tmp_path / "weights.safetensors")[0]["w"]).all())
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".jsonl"}


def test_weights_that_are_not_finite_are_never_kept(tmp_path: Path) -> None:
    """The last step's loss is finite; the step itself is not."""
    weight = torch.ones(1, requires_grad=True)
    with pytest.raises(KshotError, match="weights are no longer finite at step 1: lower the learning rate"):
        fit({"w": weight}, lambda _: (weight * 1e30).sum(), Schedule(steps=1, lr=1e30, optimizer="sgd"), None, tmp_path)
    assert not (tmp_path / "weights.safetensors").exists()


def test_leaves_the_random_state_of_the_caller_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    trained(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)


def test_writes_nothing_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weights, _, loss, accuracy = task()
    fit(weights, loss, PLAN, accuracy, resume=True)
    assert list(tmp_path.iterdir()) == []


def test_refuses_a_checkpoint_that_is_damaged_or_of_other_weights(tmp_path: Path) -> None:
    weights, _, loss, accuracy = task()
    fit(weights, loss, PLAN, accuracy, tmp_path)
    with pytest.raises(CheckpointError, match="is of a run with other trained weights"):
        trained(tmp_path, resume=True)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        fit(weights, loss, PLAN, accuracy, tmp_path, resume=True)


def test_a_checkpoint_whose_state_is_hostile_is_one_line(tmp_path: Path) -> None:
    weights, extra, loss, accuracy = task()

    def pressed(index: int) -> Tensor:
        if index == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(index)

    with pytest.raises(KeyboardInterrupt):
        fit(weights, pressed, PLAN, accuracy, tmp_path, False, {"bias": 0.5}, extra=extra)
    path = tmp_path / "checkpoint.safetensors"
    held, about = load_tensors(path)
    said = json.loads(about["fit"])
    name = next(name for name in held if name.startswith("weight."))
    state = next(name for name in held if name.startswith("optimizer.") and held[name].ndim)
    kept = path.read_bytes()
    for tensors, metadata in (
        (held, {}),
        (held, {"fit": "{"}),
        (held, {"fit": "[" * 100_000}),
        (held, {"fit": "[]"}),
        (held, {"fit": "{}"}),
        (held, {"fit": json.dumps(said | {"step": 10**9})}),
        (held, {"fit": json.dumps(said | {"step": -1})}),
        (held, {"fit": json.dumps(said | {"step": "x"})}),
        (held, {"fit": json.dumps(said | {"history": 7})}),
        (held | {name: held[name] * float("nan")}, about),
        (held | {name: held[name].flatten()[:1].repeat(7)}, about),
        (held | {state: held[state] * 0 + float("inf")}, about),
        (held | {"optimizer.x.step": torch.tensor(1.0)}, about),
    ):
        save_tensors(path, tensors, metadata)
        with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors is damaged.*; start again") as caught:
            trained(tmp_path, resume=True)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    path.write_bytes(kept)
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b"[" * 100_000 + b"\n\xff\xfe\n7\n{}\n")
    trained(tmp_path, resume=True)
    assert metrics(tmp_path)[-1]["step"] == PLAN.steps


def test_refuses_a_loss_that_does_not_depend_on_the_weights() -> None:
    with pytest.raises(OptionError, match=r"the loss does not depend on what learns \(w, \.\.\.\)"):
        fit({"w": torch.zeros(1, requires_grad=True)}, lambda _: torch.ones(()), PLAN)


def test_saves_and_loads_tensors_and_metadata(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).view(2, 3).T, "b": torch.tensor(3, dtype=torch.int64)}
    save_tensors(tmp_path / "t.safetensors", tensors, {"about": "x"})
    loaded, metadata = load_tensors(tmp_path / "t.safetensors")
    assert metadata == {"about": "x"}
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    with pytest.raises(CheckpointError, match=r"no such file: .*none\.safetensors"):
        load_tensors(tmp_path / "none.safetensors")
