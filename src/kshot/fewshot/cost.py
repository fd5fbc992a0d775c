"""What accuracy costs: multiply-adds, bytes stored, peak memory; and how tables write them.

Multiply-adds are counted by PyTorch's flop counter while the work is really done (two flops make one): matrix products,
convolutions and attention, forward and backward, what attention computes twice included. Everything else (norms,
activations, solvers, the optimiser's update) is left out, as usual.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from kshot import system

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from kshot.activations.activations import Activations
    from kshot.activations.shards import Array
    from kshot.backbones.backbone import Backbone
    from kshot.fewshot.learner import Learner
    from kshot.fewshot.result import Costs
    from kshot.fewshot.strategies.base import Objective, Strategy

TIMED_STEPS = 5


def multiply_adds(work: Callable[[], object]) -> int:
    """Multiply-adds of what `work` does, its backward passes included."""
    import torch
    from torch.utils import flop_counter

    shapes: Any = flop_counter

    def forward(query: Any, key: Any, value: Any, *rest: Any, **options: Any) -> Any:
        return shapes.sdpa_flop_count(query, key, value)

    def backward(grad: Any, query: Any, key: Any, value: Any, *rest: Any, **options: Any) -> Any:
        return shapes.sdpa_backward_flop_count(grad, query, key, value)

    aten = torch.ops.aten
    cpu = {  # attention on a CPU, which the counter does not know
        aten._scaled_dot_product_flash_attention_for_cpu: forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
    with flop_counter.FlopCounterMode(display=False, custom_mapping=cpu) as counter:
        work()
    return int(counter.get_total_flops()) // 2


def of_clip(backbone: Backbone, frames: int) -> int:
    """Multiply-adds of the whole image tower for one clip, from pixels (or features) to embeddings; nothing is
    computed."""
    import torch

    twin = backbone.copy().to("meta")
    rows = backbone.rows_of(frames)
    pixels = torch.empty(rows, *backbone.input_shape, device="meta")
    with torch.no_grad():
        return multiply_adds(lambda: twin.encode_from(pixels, 0, rows))


def of_step(objective: Objective, weights: Mapping[str, Tensor], batches: int = 1, accumulate: int = 1) -> int:
    """Multiply-adds of a training step, that is `accumulate` batches: their loss and its gradients, as computed.

    The first batch of each stage of `objective` is run; over all `batches` of the run, this is the mean. Leaves
    `weights` (name -> parameter that learns) without gradients.
    """
    from kshot.fewshot.fit import seeded

    starts = [start for start in objective.starts if start < batches] or [0]
    ends = [*starts[1:], max(batches, 1)]
    total = 0
    with seeded(0, next(iter(weights.values())).device):
        for start, end in zip(starts, ends, strict=True):
            loss: Any = partial(objective.loss, start)
            total += (end - start) * multiply_adds(lambda run=loss: run().backward())  # type: ignore[misc]
    for weight in weights.values():
        weight.grad = None
    return round(total / max(batches, 1) * accumulate)


def of_episode(
    strategy: Strategy, learner: Learner, support: Array, labels: Array, query: Array, way: int
) -> tuple[int, float] | None:
    """Multiply-adds and seconds of a step of a strategy that learns inside an episode, on this one.

    Both are differences between runs of one step and of more; None for a strategy without an option `steps`.
    """
    if "steps" not in {field.name for field in fields(strategy)}:
        return None
    chosen: Any = strategy

    def run(steps: int) -> Callable[[], object]:
        some = replace(chosen, steps=steps)
        return lambda: some.scores(learner, support, labels, query, way)

    counted = multiply_adds(run(2)) - multiply_adds(run(1))
    seconds = []
    for steps in (1, 1 + TIMED_STEPS):
        begin = time.perf_counter()
        run(steps)()
        seconds.append(time.perf_counter() - begin)
    return counted, max(0.0, (seconds[1] - seconds[0]) / TIMED_STEPS)


def stored_bytes(activations: Activations) -> int:
    """Bytes of the activations of these clips, in every view; copies of a clip are stored once."""
    if activations.store is None or not activations.digests:
        features = activations.data.features
        return int(features.nbytes) if features is not None else 0
    import numpy as np  # here, as the command line imports this file before it knows what is asked

    from kshot.activations.activations import content

    each = activations.store.bytes_of(activations.digests[0])
    clips = np.unique(content(activations), return_inverse=True)[1]
    if activations.seen is None:
        return each * (int(clips.max()) + 1)
    seen = np.column_stack([np.zeros(len(clips), np.int64), activations.seen])  # view 0 is always there
    views = clips[:, None] * (int(seen.max()) + 1) + seen
    return each * len(np.unique(views))


_OWN: ContextVar[bool] = ContextVar("own_process", default=False)
SAMPLED = 0.02  # seconds between looks at the memory of a process that is not kshot's own


@contextmanager
def own_process() -> Iterator[None]:
    """Inside, this process is a command's: nobody else reads its peaks of memory, so they may be set back."""
    token = _OWN.set(True)
    try:
        yield
    finally:
        _OWN.reset(token)


class Peak:
    """The most memory that was used at a time since this was made.

    On a GPU its memory in tensors; on a CPU that of this process as the system sees it, libraries (about 0.4 GB) and
    pages of mapped files included, decoding processes not. In a command's own process the system's peak is set back
    first. In a caller's it is left alone: where it did not rise meanwhile, the most that was seen in looks every 20 ms
    stands for it.
    """

    def __init__(self) -> None:
        import torch

        places = ["cpu"]
        if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            places += [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        self._set_back = False
        if _OWN.get():
            self._set_back = system.forget_peak_memory()
            for place in places[1:]:
                torch.cuda.reset_peak_memory_stats(place)
        self._before = {place: _peak(place) for place in places}
        self._seen = {place: _used(place) or 0 for place in places}
        if not self._set_back:
            done = threading.Event()
            weakref.finalize(self, done.set)
            threading.Thread(target=_watch, args=(self._seen, done), daemon=True, name="kshot memory").start()

    def read(self, device: torch.device | str = "cpu") -> int | None:
        """Bytes; None where the system does not tell."""
        import torch

        place = torch.device(device)
        name = "cpu" if place.type == "cpu" else f"{place.type}:{place.index or 0}"
        after, now = _peak(name), _used(name)
        if after is None or now is None:
            return None
        rose = self._set_back or after > (self._before.get(name) or 0)
        return after if rose else max(self._seen.get(name, 0), now)


def _watch(seen: dict[str, int], done: threading.Event) -> None:
    while not done.wait(SAMPLED):
        for place in seen:
            seen[place] = max(seen[place], _used(place) or 0)


def _peak(place: str) -> int | None:
    """Bytes that a device, or this process, has used at most; None where the system does not tell."""
    if place == "cpu":
        return system.peak_memory()
    import torch

    if place.startswith("mps"):
        return int(torch.mps.driver_allocated_memory())  # what it once took it keeps
    return int(torch.cuda.max_memory_allocated(place)) if place.startswith("cuda") else None


def _used(place: str) -> int | None:
    """Bytes that a device, or this process, uses now."""
    if place == "cpu":
        return system.used_memory()
    import torch

    if place.startswith("mps"):
        return int(torch.mps.current_allocated_memory())
    return int(torch.cuda.memory_allocated(place)) if place.startswith("cuda") else None


# How tables write them


def _whole(value: float) -> str:
    return f"{value:,.0f}" if value < 1e7 else f"{value / 1e6:,.1f} M"


def _scaled(value: float) -> str:
    """Three digits and a unit: 1.27 G."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{_three(value / size)} {unit}"
    return _three(value)


def _three(value: float) -> str:
    for digits, limit in ((2, 9.995), (1, 99.95)):
        if value < limit:
            return f"{value:.{digits}f}"
    return f"{value:,.0f}"


def _bytes(value: float) -> str:
    return f"{_scaled(value)}B" if value >= 999.5 else f"{value:.0f} B"


def as_bytes(value: float | None) -> str:
    """1.27 GB, or a dash."""
    return "–" if value is None else _bytes(value)


def as_time(seconds: float) -> str:
    """In the unit that reads best, two digits: 8 s, 12 min, 3.4 h, 16 days."""
    for unit, size, limit in (
        ("s", 1, 99.5),
        ("min", 60, 99.5 * 60),
        ("h", 3600, 47.5 * 3600),
        ("days", 86400, math.inf),
    ):
        if seconds < limit:
            value = seconds / size
            return f"{value:.1f} {unit}" if 0 < value < 9.95 and size > 60 else f"{value:.0f} {unit}"
    raise AssertionError


def _seconds(value: float) -> str:
    return f"{value:.2g}" if 0 < value < 0.095 else f"{value:,.1f}" if value >= 9.95 else f"{value:.2f}"


COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "trained_parameters": ("weights trained", _whole),
    "stored_parameters": ("weights kept", _whole),
    "multiply_adds_per_clip": ("multiply-adds a clip", _scaled),
    "multiply_adds_per_step": ("multiply-adds a step", _scaled),
    "stored_bytes": ("stored", _bytes),
    "peak_memory": ("peak memory", _bytes),
    "seconds_per_step": ("seconds a step", _seconds),
    "training_seconds": ("training, s", _seconds),
    "evaluation_seconds": ("evaluation, s", _seconds),
}
"""The costs of a row: a key of its record and of the summary -> heading, how to write a value."""

TRAINING = ("trained_parameters", "stored_parameters", "multiply_adds_per_step", "seconds_per_step", "training_seconds")
"""Those that are zero, and shown as none, where nothing is trained."""


def written(line: Costs, key: str) -> str:
    """A cost of a summary line as a table shows it; a dash where there is none or it is not known."""
    value = getattr(line, key)
    return "–" if value is None or (key in TRAINING and not value) else COLUMNS[key][1](value)


def present(lines: Sequence[Costs]) -> list[str]:
    """The columns of which a summary knows anything."""
    return [key for key in COLUMNS if any(getattr(line, key) for line in lines)]
