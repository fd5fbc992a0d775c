"""The choice on val episodes: its clips, its episodes, and in words what it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kshot.errors import NotEnoughClips
from kshot.fewshot.episodes import Sampler
from kshot.fewshot.strategies.base import Strategy
from kshot.settings import EpisodeShape

if TYPE_CHECKING:
    from kshot.activations.activations import Activations
    from kshot.datasets import Dataset

VAL_SEED = 1_000_003
"""Of the val episodes: they are the same in every run, whatever its seed."""
ENOUGH = 8
"""Val classes from which on nothing is said of their number."""


def remarks(val: Dataset | None, way: int, strategy: Strategy, select: str) -> list[str]:
    """A sentence where a training has no val classes to choose on, or few.

    Args:
        val: the val clips; None where there are none or none are wanted.
        way: classes of a val episode.
        strategy: of the training.
        select: what the choice is to be made on, "val" or "none".

    Returns:
        None or one.
    """
    if select != "val":
        return []
    if val is None:
        kept = "its own number of steps is taken" if strategy.learns_from == "support" else "the last weights are kept"
        return [f"no val classes to choose on: {kept}; give some classes the split val"]
    count = len(val.classes)
    if count >= ENOUGH:
        return []
    shown = (
        f"the same {way} classes ({way}-way, chance {100 / way:.3g} %)"
        if count == way
        else f"{way} of the same {count} classes"
    )
    return [
        f"{count} val classes: all val episodes show {shown}, so what is chosen on them may suit those alone; "
        f"{ENOUGH} and more are better"
    ]


def splits(data: Dataset, strategy: Strategy, select: str) -> tuple[Dataset | None, Dataset | None]:
    """Base and val clips that the strategy needs; a data set without val classes trains without selection."""
    base = data.select("train") if strategy.learns_from == "base" else None
    val = data.select("val") if select == "val" and "val" in data.splits else None
    if val is not None and len(val.classes) < 2:
        raise NotEnoughClips(
            f"{data.name} has one val class, '{val.classes[0]}', and a val episode needs two: give another class the "
            f"split val, or choose nothing on val (--select none)"
        )
    return base, val


def val_sampler(clips: Dataset, shape: EpisodeShape, val: Activations | None = None) -> Sampler:
    """Of the val episodes. val: their activations, where copies are known."""
    groups = None if shape.shared_group else clips.groups
    copies = val.copies if val is not None else None
    return Sampler(clips.labels, clips.classes, shape.way, shape.shot, shape.query, VAL_SEED, groups, copies)
