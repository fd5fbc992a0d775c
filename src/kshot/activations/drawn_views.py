"""Further views of clips that were extracted once, for training: each a draw of time, place or side."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kshot.activations.activations import Activations
from kshot.activations.extraction import extract
from kshot.errors import DataError
from kshot.video import views

if TYPE_CHECKING:
    from kshot.backbones.backbone import Backbone


def extract_views(
    first: Activations,
    backbone: Backbone,
    count: int,
    augment: str | Sequence[str] = "time",
    no_flip: Collection[str] = (),
    **options: Any,
) -> Activations:
    """`first`, which holds view 0, with views 1 to count - 1 of its clips, for `Activations.gather` at a visit.

    Args:
        first: activations of view 0.
        backbone: that they were extracted with.
        count: number of views, view 0 included.
        augment: some of "time", "crop" or "crops", and "flip".
        no_flip: classes whose clips are never mirrored. Their views have a key of their own.
        options: further arguments of `extract`, those that `first` was extracted with.

    Raises:
        DataError: a clip that could be read cannot be read in another view.
    """
    assert first.store is not None and first.cut is not None
    names = views.parse(augment)
    still = np.isin(np.array(first.data.classes), sorted(no_flip))[first.data.labels] & ("flip" in names)
    parts = ((names, np.flatnonzero(~still)), (tuple(n for n in names if n != "flip"), np.flatnonzero(still)))
    stores, seen = [first.store], np.zeros((len(first.data), count), np.int64)
    for view in range(1, count):
        for kinds, clips in parts:
            if not kinds or not len(clips):
                continue  # nothing to draw: the clip's views are all view 0
            whole = options | {"allow_damaged": True}  # what view 0 has let pass
            made = extract(first.data.subset(clips), backbone, first.cut, view=view, augment=kinds, **whole)
            if made.unreadable or made.store is None:
                raise DataError(
                    f"{next(iter(made.unreadable.values()))}: it could be read in view 0, but not in view {view}; "
                    f"extract again, or mend the clip"
                )
            seen[clips, view] = len(stores)
            stores.append(made.store)
    return replace(first, views=tuple(stores), seen=seen)
