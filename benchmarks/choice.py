"""How often a recognizer takes the class names alone, and what that costs: two actions, a few clips, known truth.

    python benchmarks/choice.py 'clips.csv?dataset=jhmdb' --backbone lite [--store STORE] [--lessons 200]

Each lesson draws two base (train) classes and a few groups of each; the recognizer's methods (text, prototype, fusion,
linear-probe, otam) are compared on them, and each is then scored on clips of the two classes from other groups. Names
are those of the data, or good ones: the mean of half of the clips from other groups, which are then not scored, so that
names alone are about as good as clips.
Two rules choose: one standard error with names alone as the simplest method (the rule until November 2026), and
`kshot.recognizer.choose.pick` on the order that the recognizer has now.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kshot import extract, load_backbone, load_data
from kshot.heads.formulas import pool, unit
from kshot.recognizer.choose import candidates, folds, held_out, pick
from kshot.recognizer.fitting import Trial
from kshot.recognizer.methods import Support, learn

GROUPS = (4, 8)  # of an action
BEFORE = ("text", "prototype", "fusion", "linear-probe", "otam")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--backbone", default="lite")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--lessons", type=int, default=200)
    given = parser.parse_args()
    backbone, clips = load_backbone(given.backbone), load_data(given.data).select("train")
    activations = extract(clips, backbone, "embedding", store=given.store)
    data, count = activations.data, len(activations.data)
    embeddings = torch.from_numpy(activations.gather(range(count))).float()
    groups = np.arange(count).astype(str) if data.groups is None else data.groups
    names = backbone.embed_text(data.classes)
    print("names  groups  rule    text taken   accuracy   lost to the best in hindsight")
    for kind in ("own", "good"):
        for size in GROUPS:
            rows = [
                lesson(embeddings, data.labels, groups, names if kind == "own" else None, size, number)
                for number in range(given.lessons)
            ]
            for rule, taken in (("before", [row[0] for row in rows]), ("now", [row[1] for row in rows])):
                accuracy = np.array([row[2][name] for name, row in zip(taken, rows, strict=True)])
                best = np.array([max(row[2].values()) for row in rows])
                print(
                    f"{kind:5}  {size:6}  {rule:6}  {taken.count('text'):4} of {len(rows)}   "
                    f"{100 * accuracy.mean():6.1f} %   {100 * (best - accuracy).mean():5.1f}"
                )


def lesson(
    embeddings: Tensor,
    labels: NDArray[np.int64],
    groups: NDArray[np.str_],
    names: Tensor | None,
    size: int,
    number: int,
) -> tuple[str, str, dict[str, float]]:
    """What each rule takes, and the accuracy of every method on clips of other groups.

    Args:
        embeddings: (n, T, P) of all clips.
        labels: (n,) their classes.
        groups: (n,) what was filmed together.
        names: (C, P) class texts; None for good ones.
        size: groups of each of the two actions.
        number: of the lesson; the same draws the same clips.
    """
    draw = np.random.default_rng((0, size, number))
    classes = draw.choice(len(np.unique(labels)), 2, replace=False)
    shown, rest, text = [], [], []  # of each action: its lesson's clips, those to score, its name
    for c in classes.tolist():
        there = np.flatnonzero(labels == c)
        order = draw.permutation(np.unique(groups[there]))
        shown.append(there[np.isin(groups[there], order[:size])])
        other = there[np.isin(groups[there], order[size:])]
        half = len(other) // 2 if names is None else 0
        text.append(unit(pool(embeddings[torch.from_numpy(other[:half])])[:, 0].mean(0)) if names is None else names[c])
        rest.append(other[half:])
    near, far = np.concatenate(shown), np.concatenate(rest)
    everything = np.concatenate([near, far])
    which = np.searchsorted(np.sort(classes), labels[everything])
    support = Support(
        classes=("one", "other"),
        labels=which,
        groups=groups[everything],
        names=tuple(map(str, everything)),
        embeddings=embeddings[torch.from_numpy(everything)],
        text=torch.stack([text[i] for i in np.argsort(classes)]),
    )
    seen, queries = np.arange(len(near)), np.arange(len(near), len(everything))
    own = Support(
        support.classes, which[seen], support.groups[seen], support.names[: len(near)],
        support.embeddings[torch.from_numpy(seen)], support.text,
    )  # fmt: skip
    parts = folds(own.labels, own.groups)
    trial = Trial.of(own, {name: held_out(name, own, parts) for name in candidates(own)}, parts)
    found = {name: learn(name, support, seen, queries) for name in trial.results}
    right = {
        name: float((one.scorer(one.queries).argmax(-1).numpy() == which[queries]).mean())
        for name, one in found.items()
    }
    _, place = np.unique(trial.groups, return_inverse=True)
    rows = [list(trial.results).index(name) for name in BEFORE]
    before = BEFORE[pick(trial.costs[rows], place, np.ones(int(place.max()) + 1))]
    return before, trial.chosen(), right


if __name__ == "__main__":
    main()
