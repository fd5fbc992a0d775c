"""The one training loop: batches in, trained weights out.

A batch is a pure function of its index, so the loop keeps no sampler state: a run that was killed and resumed
equals one that ran through, bit for bit on one machine.
"""

from __future__ import annotations

import json
import math
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kshot import gate, interrupt, processes
from kshot.draws import key
from kshot.errors import CheckpointError, KshotError, OptionError, RankLost
from kshot.files import ours, write_atomic
from kshot.progress import Progress, quiet
from kshot.settings import Schedule, Selection

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINT_SECONDS = 30.0


@dataclass
class Fitted:
    """What a fit came to.

    Attributes:
        best_step: the step of the weights kept.
        best_val: their val accuracy in percent, None without val classes.
        steps: steps taken.
        seconds: in total, validations included.
        history: step and val_accuracy of each validation.
        step_seconds: median seconds of the steps alone, None without any.
    """

    best_step: int = 0
    best_val: float | None = None
    steps: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    step_seconds: float | None = None


def fit(
    weights: Mapping[str, Tensor],
    loss: Callable[[int], Tensor],
    schedule: Schedule,
    validate: Callable[[], float] | None = None,
    folder: Path | None = None,
    resume: bool = False,
    rates: Mapping[str, float] | None = None,
    progress: Progress = quiet,
    extra: Mapping[str, Tensor] | None = None,
    selection: Selection | None = None,
) -> Fitted:
    """Trains `weights` in place on `loss(0), loss(1), ...` and leaves the best of them there.

    Processes that work together do a part of each step's batches each, and have the same weights after it; the first
    of them writes.

    Args:
        weights: name -> parameter that learns.
        loss: scalar loss of batch number i, a pure function of i and the weights.
        schedule: how to descend.
        validate: accuracy on the val classes in percent; the weights with the highest are kept (the first of
            equals, the untrained ones included). Without it the last weights are kept.
        folder: where `weights.safetensors`, `metrics.jsonl` and `checkpoint.safetensors` go; the last is the
            caller's to remove. Nothing is written without a folder.
        resume: go on from the checkpoint in `folder`, or begin where there is none.
        rates: name -> factor on the learning rate.
        progress: how to show progress.
        extra: name -> parameter that learns too but is of no use afterwards (a classifier of the base classes).
        selection: how often to validate, and when to stop for want of a gain.

    Raises:
        KshotError: the loss or a weight is no longer finite.
        CheckpointError: a checkpoint that is damaged or of other weights.
    """
    with seeded(schedule.seed, next(iter(weights.values())).device):
        folder = folder if processes.first() else None
        loop = _Loop(weights, extra or {}, loss, schedule, selection or Selection(), validate, folder, rates or {})
        return loop.run(resume, progress)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, torch draws from `seed` on the CPU and `device`; the caller's random state is left as it was."""
    apple = torch.mps.get_rng_state() if device.type == "mps" else None
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield
    finally:
        if apple is not None:
            torch.mps.set_rng_state(apple)


@contextmanager
def held_back() -> Iterator[Callable[[], bool]]:
    """Holds the first Ctrl-C back and tells of it when asked; a second one interrupts at once.

    So a loop can stop between two steps, where its state is whole. Does nothing where Ctrl-C has another meaning
    already, or in a thread that never sees it.
    """
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if asked and callable(before):
            before(number, frame)
        asked.append(number)

    if not interrupt.usual():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


class _Loop:
    def __init__(
        self,
        weights: Mapping[str, Tensor],
        extra: Mapping[str, Tensor],
        loss: Callable[[int], Tensor],
        schedule: Schedule,
        selection: Selection,
        validate: Callable[[], float] | None,
        folder: Path | None,
        rates: Mapping[str, float],
    ) -> None:
        self.weights, self.loss, self.schedule, self.selection = weights, loss, schedule, selection
        self.learning = {**weights, **extra}
        self.validate, self.folder = validate, folder
        groups = [{"params": [w], "lr": schedule.lr * rates.get(n, 1.0)} for n, w in self.learning.items()]
        self.base_lrs = [float(str(group["lr"])) for group in groups]
        self.optimizer: torch.optim.Optimizer
        if schedule.optimizer == "sgd":
            self.optimizer = torch.optim.SGD(groups, momentum=schedule.momentum, weight_decay=schedule.weight_decay)
        else:
            kind = torch.optim.Adam if schedule.optimizer == "adam" else torch.optim.AdamW
            self.optimizer = kind(groups, foreach=True, weight_decay=schedule.weight_decay)
        self.fitted = Fitted()
        self.best: dict[str, Tensor] = {}
        self.stale = 0

    def run(self, resume: bool, progress: Progress) -> Fitted:
        step = self._resume() if resume else 0
        schedule, begin, saved = self.schedule, time.monotonic() - self.fitted.seconds, time.monotonic()
        smooth, durations = 0.0, []
        with progress("training", schedule.steps, "steps") as show, held_back() as stopped:
            show(step)
            if step == 0:
                self._validate(0)
            while step < schedule.steps and not (self.selection.patience and self.stale >= self.selection.patience):
                start = time.perf_counter()
                try:
                    value = self._step(step)
                except RankLost:
                    self._checkpoint(step)  # of the steps that all of them took
                    raise
                durations.append(time.perf_counter() - start)
                step += 1
                due = step % self.selection.val_every == 0 or step == schedule.steps
                checked = self._validate(step) if due else {}
                value, stop = processes.summed(np.array([value, stopped()])).tolist()  # all of them stop at one step
                smooth = value if smooth == 0.0 else 0.95 * smooth + 0.05 * value
                line = {"step": step, "loss": value} | checked
                self.fitted.seconds = time.monotonic() - begin
                self._log(line | {"seconds": round(self.fitted.seconds, 3)})
                if due or stop or time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.fitted.step_seconds = statistics.median(durations)
                    self._checkpoint(step)
                    saved = time.monotonic()
                best = self.fitted.best_val
                show(note=f"loss {smooth:.3f}" + (f", val {best:.1f} %" if best is not None else ""))
                if stop:
                    raise KeyboardInterrupt
        self.fitted.steps = step
        if self.validate is None:
            self._keep(step)
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(self.best[name])
        return self.fitted

    def _step(self, step: int) -> float:
        """One optimiser step over `accumulate` batches; returns what those of this process are of their mean loss."""
        return self._total(self._launch(step), step)

    def _launch(self, step: int) -> list[Tensor]:
        """An optimiser step and its losses, which a GPU may not have finished yet: nothing in here waits for it."""
        schedule, losses = self.schedule, list[torch.Tensor]()
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = lr * schedule.factor(step)
        self.optimizer.zero_grad(set_to_none=True)
        for index in processes.dealt(range(step * schedule.accumulate, (step + 1) * schedule.accumulate)):
            torch.manual_seed(int(key(schedule.seed, 7, index)) >> 1)  # dropout is a function of the batch too
            loss = self.loss(index) / schedule.accumulate
            losses.append(loss.detach())
            if loss.device.type == "cpu":
                self._total(losses, step)  # before its gradients; a GPU would have to be waited for
            if not loss.requires_grad:
                raise OptionError(
                    f"the loss does not depend on what learns ({', '.join(list(self.learning)[:2])}, ...): tune the "
                    f"image tower too, or choose a loss or head that looks at class texts"
                )
            loss.backward()  # type: ignore[no-untyped-call]
        processes.add_gradients(self.learning)
        if schedule.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(list(self.learning.values()), schedule.max_grad_norm)
        self.optimizer.step()
        return losses

    def _total(self, losses: list[Tensor], step: int) -> float:
        """The sum of a step's losses.

        Raises:
            KshotError: it is not finite.
        """
        total = 0.0
        for loss in losses:
            total += float(loss)
        if not math.isfinite(total):
            raise KshotError(
                f"the loss became {total} at step {step + 1}; nothing after step {self.fitted.best_step} was kept: "
                f"lower the learning rate (now {self.schedule.lr:g}) or set max_grad_norm"
            )
        return total

    def _validate(self, step: int) -> dict[str, Any]:
        """Validates and keeps the weights if they are the best so far."""
        if self.validate is None:
            return {}
        accuracy = self.validate()
        if self.fitted.best_val is None or accuracy > self.fitted.best_val:
            self.fitted.best_val, self.stale = accuracy, 0
            self._keep(step)
        else:
            self.stale += 1
        entry = {"val_accuracy": accuracy}
        self.fitted.history.append({"step": step, **entry})
        if step == 0:
            self._log({"step": 0, **entry})
        return entry

    def _keep(self, step: int) -> None:
        if not all(bool(torch.isfinite(weight).all()) for weight in self.weights.values()):
            raise KshotError(
                f"weights are no longer finite at step {step}: lower the learning rate (now {self.schedule.lr:g}) or "
                f"set max_grad_norm"
            )
        self.fitted.best_step = step
        self.best = {name: weight.detach().clone() for name, weight in self.weights.items()}
        if self.folder is not None:
            save_tensors(self.folder / "weights.safetensors", self.best)

    def _log(self, line: dict[str, Any]) -> None:
        if self.folder is not None:
            ours(self.folder)
            with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def _checkpoint(self, step: int) -> None:
        if self.folder is None or step == 0:
            return
        tensors = {f"weight.{name}": weight.detach() for name, weight in self.learning.items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items() if value is not None}
        about = {
            "step": step,
            "best_step": self.fitted.best_step,
            "best_val": self.fitted.best_val,
            "seconds": self.fitted.seconds,
            "stale": self.stale,
            "history": self.fitted.history,
            "step_seconds": self.fitted.step_seconds,
        }
        save_tensors(self.folder / "checkpoint.safetensors", tensors, {"fit": json.dumps(about)})

    def _resume(self) -> int:
        path = (self.folder or Path()) / "checkpoint.safetensors"
        read = processes.from_first(lambda: load_tensors(path) if self.folder is not None and path.exists() else None)
        if read is None:
            self._forget_after(-1)
            return 0
        tensors, metadata = read
        if {n.removeprefix("weight.") for n in tensors if n.startswith("weight.")} != set(self.learning):
            raise CheckpointError(f"{path} is of a run with other trained weights; start again in another --out")
        try:
            step = self._put_back(tensors, _about(path, metadata))
        except CheckpointError as error:
            raise CheckpointError(f"{error}; start again in another --out") from None
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
            reason = " ".join(str(error).split())[:160]
            raise CheckpointError(f"{path} is damaged ({reason}); start again in another --out") from None
        self._forget_after(step)
        return step

    def _put_back(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> int:
        """State as `_checkpoint` wrote it; returns the step."""
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if not value.isfinite().all():
                raise ValueError(f"{name} is not finite")
            kind, _, rest = name.partition(".")
            number, _, field_name = rest.partition(".")
            if kind == "optimizer":
                state.setdefault(int(number), {})[field_name] = value
        with torch.no_grad():
            for name, weight in self.learning.items():
                weight.copy_(tensors[f"weight.{name}"])
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.fitted = Fitted(
            int(about["best_step"]), about["best_val"], 0, float(about["seconds"]), list(about["history"]),
            about.get("step_seconds"),
        )  # fmt: skip
        self.stale = int(about["stale"])
        if about["best_val"] is not None:
            best, _ = processes.from_first(lambda: load_tensors((self.folder or Path()) / "weights.safetensors"))
            self.best = {name: best[name].to(weight.device) for name, weight in self.weights.items()}
        step = int(about["step"])
        if not 0 <= step <= self.schedule.steps:
            raise ValueError(f"step {step} of {self.schedule.steps}")
        return step

    def _forget_after(self, step: int) -> None:
        """Drops the metrics of steps that will be run again."""
        if self.folder is None:
            return
        path = self.folder / "metrics.jsonl"
        kept = []
        for line in path.read_text("utf-8", "replace").splitlines() if path.exists() else []:
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError, RecursionError):  # no line of ours
                continue
        write_atomic(path, "".join(kept).encode())


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Writes tensors as safetensors, whole or not at all."""
    from safetensors.torch import save as to_bytes

    write_atomic(path, to_bytes({n: t.detach().contiguous().cpu() for n, t in tensors.items()}, metadata))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises:
        CheckpointError: missing, truncated or not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    gate.regular(path, error=CheckpointError)
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors ({error}); copy or train it again") from None


def expect_finite(source: object, tensors: Mapping[str, Tensor]) -> None:
    """Refuses weights that no training of kshot's would have kept.

    Raises:
        CheckpointError: names the tensor that is not finite.
    """
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{source}: {name} holds numbers that are not finite; copy it again or train again")


def _about(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What a checkpoint says beside its tensors."""
    from kshot.fewshot import forms

    try:
        about = json.loads(metadata.get("fit", "{}"))
    except (ValueError, RecursionError):
        about = None
    found: dict[str, Any] = gate.typed(about, forms.TrainingState, path, CheckpointError)
    return found
