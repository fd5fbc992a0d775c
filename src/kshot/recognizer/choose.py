"""Which method, and what to expect of it: scored on the user's own clips, each after training without its group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kshot.heads.formulas import pool
from kshot.recognizer import methods
from kshot.recognizer.methods import METHODS, READINGS, Support, learn

Array = NDArray[Any]
Indices = NDArray[np.int64]

FOLDS = 10
DRAWS = 200  # of the bootstrap


@dataclass(frozen=True)
class HeldOut:
    """A method's scores of clips that it was not trained on.

    Attributes:
        logits: (n, C), -inf for a class of which no clip was left.
        known: (n,) cosine with the nearest class mean.
        out_of_class: (n, 2) cosines with the nearest and the next class mean, the clip's own class left out.
        scored: (n,) whether the clip's class was trained at all.
    """

    logits: Array
    known: Array
    out_of_class: Array
    scored: NDArray[np.bool_]


def folds(labels: Indices, groups: Array, most: int = FOLDS) -> list[Indices]:
    """Parts of the clips that are left out one after the other: whole groups, and of every class its share.

    A part takes about one group of each class, so that what remains is as balanced as the whole: if only the class of
    the clip in question lost a clip, that class would look worse than it is. At least 2 parts and at most `most`; a
    class that has two groups or more never lies in one part as a whole if that can be had. The same clips give the same
    parts.
    """
    names, which = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), int(labels.max()) + 1), np.int64)
    np.add.at(counts, (which, labels), 1)
    total = counts.sum(0)
    usual = int(np.median((counts > 0).sum(0)[total > 0]))
    taken = np.zeros((min(max(2, usual), most), counts.shape[1]), np.int64)
    fold_of = np.zeros(len(names), np.int64)
    first = np.array([np.flatnonzero(which == g)[0] for g in range(len(names))])
    for g in sorted(range(len(names)), key=lambda g: (-counts[g].sum(), first[g])):
        own = counts[g] > 0
        whole = (taken[:, own] + counts[g, own] == total[own]) & (total[own] > counts[g, own])
        share = (taken[:, own] / total[own]).sum(1) + 1000 * whole.sum(1)
        fold_of[g] = np.lexsort((taken.sum(1), share))[0]
        taken[fold_of[g]] += counts[g]
    parts = [np.flatnonzero(fold_of[which] == f) for f in range(len(taken))]
    return [part for part in parts if len(part)]


@torch.no_grad()
def held_out(
    name: str,
    support: Support,
    parts: Sequence[Indices],
    few: Callable[[Indices], Indices] = lambda rest: rest,
    step: Callable[[], None] = lambda: None,
) -> HeldOut:
    """Scores of every clip by what the method learned without the clip's part.

    Args:
        name: of the method.
        support: all clips.
        parts: those that are left out one after the other.
        few: which of the remaining clips to learn from.
        step: called after each part.
    """
    count, actions = len(support), support.actions
    logits = np.full((count, len(support.classes)), -np.inf)
    known, outside, scored = np.full(count, -1.0), np.full((count, 2), -1.0), np.zeros(count, bool)
    for part in parts:
        rest = np.setdiff1d(np.arange(count), part)
        if len(np.unique(support.labels[rest])) > 1:
            found = learn(name, support, few(rest), part)
            logits[np.ix_(part, found.present)] = found.scorer(found.queries).double().cpu().numpy()
            scored[part] = np.isin(support.labels[part], found.present)
            present = found.present < actions
            near = (pool(found.queries)[:, 0] @ found.means.T).cpu().numpy()[:, present]
            known[part] = near.max(1)
            own = support.labels[part][:, None] == found.present[present][None]
            outside[part] = _two(np.where(own, -1.0, near))
        step()
    return HeldOut(logits, known, outside, scored)


def out_of_class_scores(name: str, support: Support, step: Callable[[], None] = lambda: None) -> Array:
    """`HeldOut.out_of_class` (n, 2) where a clip's class was never trained.

    One lesson a class, for methods that change the embeddings.
    """
    outside, actions = np.full((len(support), 2), -1.0), support.actions
    for label in range(actions):
        clips, rest = np.flatnonzero(support.labels == label), np.flatnonzero(support.labels != label)
        found = learn(name, support, rest, clips)
        means = found.means[torch.from_numpy(found.present < actions)]
        outside[clips] = _two((pool(found.queries)[:, 0] @ means.T).cpu().numpy())
        step()
    return outside


def _two(cosines: Array) -> Array:
    """The largest and the next of each row, the largest first; -1 where there is none."""
    most: Array = np.sort(np.pad(cosines, ((0, 0), (0, 2)), constant_values=-1.0), 1)[:, :-3:-1]
    return most


def rivals(names: Sequence[str]) -> list[int]:
    """Places among these methods of those that only read clips in different ways, see `methods.READINGS`."""
    return [place for place, name in enumerate(names) if name in READINGS]


def pick(costs: Array, which: Indices, weights: Array, alike: Sequence[int] = ()) -> int:
    """The simplest method that is not clearly worse than the best: the rule of one standard error.

    Methods that are no simpler than each other are compared by their loss alone first, and the best of them stands for
    all: by the rule the first of them would be taken where another is better by less than the noise, which gave away 1
    to 5 points of accuracy.

    The class names alone come last in `METHODS`, so that they are taken only where all that learns from the clips is
    clearly worse: good names look as good as few clips can show (figures: docs/recognizer.md, benchmarks/choice.py).

    Args:
        costs: (methods, n) loss of each clip, the simplest method first.
        which: (n,) number of each clip's group; differences of clips of one group are no independent evidence.
        weights: (groups,) how often each group counts.
        alike: methods of which none is simpler.
    """
    each = weights[which]
    means = costs @ each / each.sum()
    out = {*alike} - {min(alike, key=means.__getitem__, default=-1)}
    best = int(means.argmin())
    for method in (method for method in range(len(costs)) if method not in out):
        difference = costs[method] - costs[best]
        mean = means[method] - means[best]
        sums = np.bincount(which, difference - mean, len(weights))
        there = weights.sum()
        error = np.sqrt((weights * sums**2).sum() * there / max(there - 1, 1)) / each.sum()
        if mean <= error + 1e-12:
            return method
    return best


def optimism(costs: Array, right: Array, groups: Array, seed: int, alike: Sequence[int] = ()) -> float:
    """By how much the share of right answers of the chosen method is too high because it was chosen, 0 or more.

    Bootstrap bias corrected cross-validation (Tsamardinos et al., Machine Learning 107, 2018): groups are drawn again
    and again, the method is chosen on those drawn and scored on those not drawn. Nothing is learned anew.

    Args:
        costs: (methods, n) loss of each held-out clip.
        right: (methods, n) whether its likeliest class is its own.
        groups: (n,) text, what was filmed together.
        seed: of the draws.
        alike: as for `pick`.
    """
    _, which = np.unique(groups, return_inverse=True)
    parts = int(which.max()) + 1
    plain = right[pick(costs, which, np.ones(parts), alike)].mean()
    draw = np.random.default_rng(seed)
    hits, scored = 0.0, 0
    for _ in range(DRAWS):
        weights = np.bincount(draw.integers(0, parts, parts), minlength=parts).astype(float)
        outside = weights[which] == 0
        if outside.any():
            hits += right[pick(costs, which, weights, alike), outside].sum()
            scored += int(outside.sum())
    return max(0.0, float(plain - hits / scored)) if scored else 0.0


def curve(name: str, support: Support, parts: Sequence[Indices], counts: Sequence[int], draws: int, seed: int) -> Array:
    """Share of right answers (len(counts), n) of each held-out clip, with so many clips a class to learn from.

    Args:
        name: of the method.
        support: all clips.
        parts: those that are left out one after the other.
        counts: of clips a class.
        draws: of such clips, for each count.
        seed: of the draws.
    """
    rows = []
    for count in counts:
        hits = np.zeros(len(support))
        for number in range(draws):
            rng = np.random.default_rng((seed, count, number))
            few = partial(_some, labels=support.labels, count=count, rng=rng)
            found = held_out(name, support, parts, few)
            hits += found.logits.argmax(1) == support.labels
        rows.append(hits / draws)
    return np.array(rows)


def _some(rest: Indices, labels: Indices, count: int, rng: np.random.Generator) -> Indices:
    """At most `count` clips of each class."""
    chosen = [rng.permutation(rest[labels[rest] == c])[:count] for c in np.unique(labels[rest])]
    return np.sort(np.concatenate(chosen))


def candidates(support: Support) -> list[str]:
    """Methods that "auto" compares and these clips allow, the simplest first."""
    return [name for name in METHODS if not missing(name, support)]


def missing(name: str, support: Support) -> str:
    """What a method needs and these clips do not have, in words; "" if nothing is missing."""
    kind = methods.method(name)
    if kind.needs_text and support.text is None:
        return "class texts, and there is no text tower"
    if support.embeddings.shape[1] < kind.least_frames:
        return f"at least {kind.least_frames * support.unit} frames a clip"
    if kind.by_change and support.changing is None:
        return "what is seen at each place of the clips' frames, and that cannot be had"
    return "weights it may tune" if kind.tunes and support.tokens is None else ""
