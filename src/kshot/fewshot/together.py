"""What training and evaluation see to where several processes work together: one plan, one data set, one extraction.

Alone, each of these functions does nothing, or gives back what it was given.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from kshot import processes
from kshot.activations.activations import Activations, content
from kshot.errors import OptionError
from kshot.settings import Evaluating, Training

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kshot.datasets import Dataset
    from kshot.fewshot.learner import Learner

Plan = TypeVar("Plan", Training, Evaluating)

OF_THE_MACHINE = ("store", "stored_only")
"""Settings that may differ between machines."""


def dealt_batches(plan: Training) -> Training:
    """A plan whose step takes the batches of all processes, as one process does that accumulates as many."""
    schedule = plan.schedule
    return replace(plan, schedule=replace(schedule, accumulate=schedule.accumulate * processes.world()))


def only_stored(plan: Plan, extracting: bool) -> Plan:
    """A plan that opens no video, where this process does not extract."""
    return plan if extracting else replace(plan, compute=replace(plan.compute, stored_only=True))


def expect_same_settings(plan: Training | Evaluating, **further: Any) -> None:
    """Refuses processes that were started with other settings, before anything is loaded.

    Args:
        plan: of this process.
        further: what else the caller gave.

    Raises:
        OptionError: in all of them.
    """
    settings = {name: value for name, value in plan.values().items() if name not in OF_THE_MACHINE}
    processes.expect_device(plan.compute.device)
    processes.expect_same(**settings, **{name: getattr(value, "name", value) for name, value in further.items()})


def expect_same_work(data: Dataset, /, **facts: Any) -> None:
    """Refuses processes that loaded other data or another backbone, before anything is computed.

    Where files lie is the machine's own affair: their names are compared, and once they are stored what they hold.

    Args:
        data: the clips.
        facts: what else must be the same.

    Raises:
        OptionError: in all of them.
    """
    if processes.world() == 1:
        return
    names = (path.name for path in data.paths)
    listing = _digest([data.labels, data.splits, data.groups, data.spans], [*data.classes, ""], names)
    processes.expect_same(clips=len(data), listing=listing, **facts)


def expect_same_clips(*parts: Activations) -> None:
    """Refuses processes whose clips hold other bytes.

    Args:
        parts: base and val clips, say.

    Raises:
        OptionError: in all of them.
    """
    if processes.world() > 1:
        processes.expect_same(data=_digest([content(part) for part in parts]))


def refuse_drifting(learner: Learner) -> None:
    """Refuses batch norms that follow the batches of one process.

    Raises:
        OptionError: says how to train them.
    """
    if learner.drifting and (count := processes.world()) > 1:
        raise OptionError(
            f"exact: batch norms follow the batches, one after the other, so one process must see all of them: start "
            f"one, with --accumulate {count} for as many batches a step"
        )


def _digest(columns: Iterable[NDArray[Any] | None], *texts: Iterable[str]) -> str:
    """A digest of arrays and texts, without an object for each clip."""
    mark = hashlib.sha256()
    for column in columns:
        if column is not None:
            mark.update("\0".join(column.tolist()).encode() if column.dtype.kind in "OT" else column.tobytes())
    for text in itertools.chain(*texts):
        mark.update(text.encode(errors="surrogateescape") + b"\0")
    return f"sha256 {mark.hexdigest()[:12]}"
