"""What a choice on val episodes rests on, in words: of how many classes they are, or that there is no choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kshot.fewshot.strategies.base import Strategy

if TYPE_CHECKING:
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
    shown = f"the same {way} classes" if count == way else f"{way} of the same {count} classes"
    return [
        f"{count} val classes: all val episodes show {shown}, so what is chosen on them may suit those alone; "
        f"{ENOUGH} and more are better"
    ]
