"""Clips that a person should look at again: near-duplicates, and labels that the other clips speak against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kshot.heads.formulas import unit
from kshot.recognizer.methods import Support

Array = NDArray[Any]
Indices = NDArray[np.int64]

NEAR = 0.1
"""Two clips are near-duplicates below this share of the usual distance of two clips. Found on base classes: copies of
drawn clips, compressed again, trimmed or cropped by a few pixels, lie at 0.003 to 0.15, the nearest different ones at
0.11; on 420 real clips (features of another network) all pairs below 0.2 are cut from one source."""


def twins(support: Support) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of near-duplicates: their frames, one by one, point in nearly the same directions."""
    frames = unit(support.embeddings.float()).flatten(1).double()
    far = 1 - (frames @ frames.T / support.embeddings.shape[1]).cpu().numpy()
    upper = np.triu_indices(len(far), 1)
    usual = float(np.median(far[upper]))
    close = np.flatnonzero(far[upper] < NEAR * usual)
    return [(int(upper[0][k]), int(upper[1][k])) for k in close]


def joined(groups: Array, pairs: Sequence[tuple[int, int]]) -> Array:
    """Groups (n,), with those of near-duplicates made one: else a clip would be asked of a recogniser that knows it."""
    result = groups.astype(object)
    for one, other in pairs:
        result[result == result[other]] = result[one]
    return np.array(result.tolist(), dtype=np.str_)


def misfits(proba: Array, labels: Indices, judged: NDArray[np.bool_], votes: Array) -> list[tuple[int, int]]:
    """Clips whose label the others speak against, as (clip, label they look like), the surest first.

    Confident learning (Northcutt et al., JAIR 70, 2021): a clip is suspect if it is given another class with at least
    the probability that this class's own clips are given theirs, on average. Here nearly all methods must agree, too.

    Args:
        proba: (n, C) held-out probabilities. votes: (methods, n) the class that each method answered.
    """
    found = []
    count = proba.shape[1]
    own = proba[np.arange(len(labels)), labels]
    usual = [own[judged & (labels == c)].mean() if (judged & (labels == c)).any() else 1.0 for c in range(count)]
    for clip in np.flatnonzero(judged):
        other = int(proba[clip].argmax())
        agree = (votes[:, clip] == other).mean()
        if other != labels[clip] and proba[clip, other] >= max(usual[other], 0.5) and agree >= 0.75:
            found.append((float(proba[clip, other] - own[clip]), int(clip), other))
    return [(clip, other) for _, clip, other in sorted(found, reverse=True)]
