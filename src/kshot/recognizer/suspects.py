"""Clips that a person should watch again: near-duplicates, and labels that the other clips speak against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kshot.heads.formulas import unit
from kshot.recognizer.methods import Support

Array = NDArray[Any]
Indices = NDArray[np.int64]

NEAR = 0.5
"""Two clips are near-duplicates if they differ by less than this share of what a clip differs from itself, one chosen
frame later. That is the backbone's own scale: tight classes far from one another are no copies."""
FAR = 0.2
"""And by less than this share of the usual distance of two clips: fast movements differ much from themselves. What
copies and different clips lie at, `benchmarks/simulate.py copies` measures."""
SAME = 1e-6  # squared rounding errors: the distance of the same frames


def twins(support: Support) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of near-duplicates: their frames, one by one, point in nearly the same directions.

    With one frame a clip there is no scale, and only equal ones are found.
    """
    near = alike(*distances(support.embeddings))
    return [(int(one), int(other)) for one, other in zip(*np.nonzero(np.triu(near, 1)), strict=True)]


def alike(far: Array, steps: Array, usual: float | None = None) -> NDArray[np.bool_]:
    """(n, n) which clips are near-duplicates, from what `distances` found.

    Args:
        far: (n, n) distances of clips.
        steps: (n,) distances of each clip's successive frames.
        usual: distance of two clips; the median of these by default.
    """
    usual = float(np.median(far[np.triu_indices(len(far), 1)])) if usual is None else usual
    most = np.minimum(NEAR * (steps[:, None] + steps) / 2, FAR * usual)
    result: NDArray[np.bool_] = far <= np.maximum(most, SAME)
    return result


def distances(embeddings: Tensor) -> tuple[Array, Array]:
    """Mean cosine distance of clips' frames (n, T, P), one by one (n, n), and of each clip's successive frames (n,)."""
    frames = unit(embeddings.float()).double()
    flat = frames.flatten(1)
    far = 1 - flat @ flat.T / frames.shape[1]
    steps = 1 - (frames[:, 1:] * frames[:, :-1]).sum(-1)
    return far.cpu().numpy(), steps.sum(1).cpu().numpy() / max(1, frames.shape[1] - 1)


def joined(groups: Array, pairs: Sequence[tuple[int, int]]) -> Array:
    """Groups (n,), with those of near-duplicates made one: else a clip would be scored by a model that knows it.

    Args:
        groups: (n,) what was filmed together.
        pairs: of near-duplicates, as `twins` gives them.
    """
    result = groups.astype(object)
    for one, other in pairs:
        result[result == result[other]] = result[one]
    return np.array(result.tolist(), dtype=np.str_)


def misfits(proba: Array, labels: Indices, scored: NDArray[np.bool_], votes: Array) -> list[tuple[int, int]]:
    """Clips whose label the others speak against, as (clip, label they look like), the surest first.

    Confident learning (Northcutt et al., JAIR 70, 2021): a clip is suspect if it is given another class with at least
    the probability that this class's own clips are given theirs, on average. Here nearly all methods must agree, too.

    Args:
        proba: (n, C) held-out probabilities.
        labels: (n,) indices of classes.
        scored: (n,) whether a clip could be scored at all.
        votes: (methods, n) the class that each method answered.
    """
    found = []
    count = proba.shape[1]
    own = proba[np.arange(len(labels)), labels]
    usual = [own[scored & (labels == c)].mean() if (scored & (labels == c)).any() else 1.0 for c in range(count)]
    for clip in np.flatnonzero(scored):
        other = int(proba[clip].argmax())
        agree = (votes[:, clip] == other).mean()
        if other != labels[clip] and proba[clip, other] >= max(usual[other], 0.5) and agree >= 0.75:
            found.append((float(proba[clip, other] - own[clip]), int(clip), other))
    return [(clip, other) for _, clip, other in sorted(found, reverse=True)]
