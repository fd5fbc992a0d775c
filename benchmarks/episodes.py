"""10,000 prototype episodes over stored clips, against a plain loop and easyfsl over the first of them.

    python benchmarks/episodes.py [--clips 1300] [--channels 512] [--plain 1000] [--json]

All sides run in one process on the same embeddings and episodes; every episode of the plain loop must agree. easyfsl's
PrototypicalNetworks gets clips that are pooled already, as its own use asks; it runs where it is installed (`pip
install --no-deps easyfsl`). Its answers are the same at one shot; at more it takes the distance to the mean clip, which
orders classes a little differently. Drawing is in our time alone. Goals: 1.5 seconds on 2 CPU cores; a twelfth of
easyfsl's time. Ratios are of processor time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Any
from unittest.mock import MagicMock, patch

import numpy as np
import torch

from kshot.fewshot.episodes import Sampler
from kshot.fewshot.scoring import head_scorer, run_episodes
from kshot.heads import get_head
from kshot.settings import EpisodeShape


def plain(embeddings: np.ndarray, sampler: Sampler, episodes: int) -> np.ndarray:
    """(episodes, queries) hits, one episode and one query at a time."""
    hits = []
    for index in range(episodes):
        episode = sampler.draw([index])
        support, query = embeddings[episode.support[0]].mean(1), embeddings[episode.query[0]].mean(1)
        support /= np.linalg.norm(support, axis=1, keepdims=True)
        prototypes = support.reshape(sampler.way, sampler.shot, -1).mean(1)
        prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
        answers = [int(np.argmax(prototypes @ (q / np.linalg.norm(q)))) for q in query]
        hits.append(np.array(answers) == episode.query_labels[0])
    return np.stack(hits)


def easyfsl() -> Any:
    """easyfsl's prototypes on vectors of unit length; None where it is not installed.

    It imports torchvision for networks that are not used here: an empty stand-in takes its place for that moment.
    """
    names = ("", ".transforms", ".models", ".models.resnet", ".datasets")
    with patch.dict(sys.modules, {f"torchvision{name}": MagicMock() for name in names}):
        try:
            from easyfsl.methods import PrototypicalNetworks
        except ImportError:
            return None
    return PrototypicalNetworks(feature_normalization=2)


@torch.inference_mode()
def by_easyfsl(method: Any, embeddings: np.ndarray, sampler: Sampler, episodes: int) -> tuple[float, np.ndarray]:
    """Seconds of processor time, and (episodes, queries) hits, one episode at a time, episodes drawn beforehand."""
    pooled = torch.from_numpy(embeddings).mean(1)
    drawn = [sampler.draw([index]) for index in range(episodes)]
    indices = [(torch.from_numpy(d.support[0]), torch.from_numpy(d.query[0])) for d in drawn]
    labels = torch.from_numpy(drawn[0].support_labels[0].copy())
    hits, begin = [], time.process_time()
    for (support, query), one in zip(indices, drawn, strict=True):
        method.process_support_set(pooled[support], labels)
        hits.append(method(pooled[query]).argmax(1).numpy() == one.query_labels[0])
    return time.process_time() - begin, np.stack(hits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1300)
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--plain", type=int, default=1000, help="episodes of the plain loop, scaled up in the table")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), options.clips // 10)
    centres = rng.normal(size=(10, 1, options.channels))
    shape = (len(labels), 8, options.channels)
    embeddings = (0.12 * centres[labels] + rng.normal(size=shape)).astype(np.float32)
    rows = []
    for shot in (1, 5):
        sampler = Sampler(labels, tuple(map(str, range(10))), shot=shot)
        seconds, busy = [], []
        for _ in range(5):
            begin, begun = time.perf_counter(), time.process_time()
            asked = EpisodeShape(shot=shot)
            head, stored = get_head("prototype"), torch.from_numpy(embeddings)
            scorer, chunk = head_scorer(head, stored, labels, None, asked, options.episodes)
            right, _ = run_episodes(scorer, sampler, options.episodes, chunk)
            seconds.append(time.perf_counter() - begin)
            busy.append(time.process_time() - begun)
        begin = time.perf_counter()
        reference = plain(embeddings, sampler, options.plain)
        slow = (time.perf_counter() - begin) * options.episodes / options.plain
        fast = statistics.median(seconds)
        agree = int((reference == right[: options.plain]).all(1).sum())
        rows.append({
            "shot": shot,
            "seconds": round(fast, 3),
            "plain_seconds_scaled": round(slow, 2),
            "ratio": round(slow / fast, 1),
            "episodes_that_agree": f"{agree} of {options.plain}",
            "accuracy": round(100 * float(right.mean()), 2),
        })  # fmt: skip
        if (method := easyfsl()) is not None:
            spent, hits = by_easyfsl(method, embeddings, sampler, options.plain)
            rows[-1]["times_easyfsl"] = round(spent * options.episodes / options.plain / statistics.median(busy), 1)
            rows[-1]["answers_as_easyfsl"] = round(float((hits == right[: options.plain]).mean()), 5)
    if options.json:
        print(json.dumps({"threads": torch.get_num_threads(), "rows": rows}))
        return
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
