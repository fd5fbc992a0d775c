"""Chooses constants on base classes: of `lite`'s text vectors, and of the weight that text earns in head `fusion`.

    python scripts/text_weight.py 'clips.csv?dataset=jhmdb' [--store STORE] [--episodes 1000]

Two sets of base (train) classes, each with its class names and with the same names permuted, which then say nothing:
the table's clips with `lite`, and the drawn `motion` with `kshot-tiny`, whose names describe little. 5-way, support and
query of different sources, at 1, 2, 3 and 5 shots. The first table is the accuracy of names alone for each
softness of `kshot.backbones.words`. The second is the gain over clips alone, in points, for constants of
`kshot.heads.fusion.earned`: the largest mean gain with the names as they are comes first, among those that never lose
more than `--most` points in any setting.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kshot import extract, load_backbone, load_data
from kshot.backbones import words
from kshot.backbones.backbone import Backbone
from kshot.fewshot.episodes import Sampler
from kshot.heads.formulas import class_means, pool, unit
from kshot.heads.fusion import earned, fuse

WAY, QUERY, SHOTS = 5, 5, (1, 2, 3, 5)
SOFT = (0.03, 0.05, 0.07, 0.1, 0.15, 0.2)
SHARP, ENOUGH, TOP = (0.1, 0.25, 0.5, 1.0, 1.5), (0.05, 0.1, 0.2, 0.3, 0.4), (0.75, 1.0, 1.5, 2.0, 3.0)
SHOWN = 8


@dataclass(frozen=True)
class Clips:
    """Base classes of one data set.

    Attributes:
        name: for the tables.
        backbone: that embedded them.
        embeddings: (n, P) unit vectors of clips.
        labels: (n,) indices into the classes.
        groups: (n,) sources.
        classes: names.
    """

    name: str
    backbone: Backbone
    embeddings: Tensor
    labels: NDArray[np.int64]
    groups: NDArray[np.str_] | None
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Drawn:
    """Scores of E episodes: of queries by clips and by names, of support clips by names."""

    clips: Tensor
    names: Tensor
    support: Tensor
    support_labels: Tensor
    labels: Tensor

    def accuracy(self, scores: Tensor) -> float:
        return 100 * float((scores.argmax(-1) == self.labels).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a table of real clips with splits and groups")
    parser.add_argument("--store", type=Path, help="of activations")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--most", type=float, default=0.5, help="points that may be lost anywhere")
    given = parser.parse_args()
    real = read(given.data, "lite", given.store)
    print("softness  names alone, %")
    own = words.SOFTNESS
    for softness in SOFT:
        words.SOFTNESS = softness
        found = draw(real, 1, given.episodes, None)
        print(f"{softness:8}  {found.accuracy(found.names):.1f}")
    words.SOFTNESS = own
    settings = {
        (clips.name, shot, seed): draw(clips, shot, given.episodes, seed)
        for clips in (real, read("motion", "kshot-tiny", given.store))
        for shot, seed in itertools.product(SHOTS, (None, 1, 2))
    }
    rows = sorted((row(settings, *chosen) for chosen in itertools.product(SHARP, ENOUGH, TOP)), reverse=True)
    kept = [one for one in rows if one[1] >= -given.most]
    print("\nsharp, enough, top: mean gain with the names, worst loss anywhere, mean with permuted names")
    for gain, worst, permuted, chosen, each in kept[:SHOWN]:
        print(f"{chosen}: {gain:+.2f}, {worst:+.2f}, {permuted:+.2f}; {each}")


def read(data: str, name: str, store: Path | None) -> Clips:
    """The base classes of a data set, embedded."""
    backbone = load_backbone(name)
    clips = load_data(data).select("train")
    activations = extract(clips, backbone, "embedding", store=store)
    held = activations.data
    embeddings = pool(torch.from_numpy(activations.gather(range(len(held)))))[:, 0]
    return Clips(name, backbone, embeddings, held.labels, held.groups, held.classes)


def draw(clips: Clips, shot: int, episodes: int, seed: int | None) -> Drawn:
    """Scores of episodes; with a seed the class names change places."""
    names = np.array(clips.classes)
    if seed is not None:
        names = np.random.default_rng(seed).permutation(names)
    text = clips.backbone.embed_text(names.tolist())
    batch = Sampler(clips.labels, clips.classes, WAY, shot, QUERY, 0, clips.groups).draw(range(episodes))
    query, support, own = (
        values[torch.from_numpy(places)]
        for values, places in (
            (clips.embeddings, batch.query),
            (clips.embeddings, batch.support),
            (text, batch.classes),
        )
    )
    labels = torch.from_numpy(batch.support_labels.copy())
    means = unit(class_means(support, labels, WAY))
    return Drawn(
        20 * query @ means.mT, 100 * query @ own.mT, 100 * support @ own.mT, labels,
        torch.from_numpy(batch.query_labels.copy()),
    )  # fmt: skip


def row(
    settings: dict[tuple[str, int, int | None], Drawn], sharp: float, enough: float, top: float
) -> tuple[float, float, float, tuple[float, float, float], str]:
    """Mean gain with the names, worst gain anywhere, mean gain with permuted names, the constants, and each gain."""
    gains = {}
    for key, found in settings.items():
        beta = earned(found.support, found.support_labels, sharp, enough, top)
        gains[key] = found.accuracy(fuse(found.names, found.clips, beta)) - found.accuracy(found.clips)
    right = {key: gain for key, gain in gains.items() if key[2] is None}
    wrong = [gain for key, gain in gains.items() if key[2] is not None]
    each = ", ".join(f"{name} {shot}-shot {gain:+.1f}" for (name, shot, _), gain in right.items())
    return float(np.mean([*right.values()])), min(gains.values()), float(np.mean(wrong)), (sharp, enough, top), each


if __name__ == "__main__":
    main()
