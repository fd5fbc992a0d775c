"""10,000 prototype episodes over 1,300 stored clips, against a plain loop over the first of them.

    python benchmarks/episodes.py [--clips 1300] [--channels 512] [--plain 1000] [--json]

Both sides run in one process on the same embeddings and episodes; every episode of the plain loop must agree. The
goal is 1.5 seconds on 2 CPU cores, drawing included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
import torch

from kshot.fewshot.episodes import Sampler
from kshot.fewshot.scoring import head_scorer, run_episodes
from kshot.heads import get_head


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
        seconds = []
        for _ in range(5):
            begin = time.perf_counter()
            scorer, chunk = head_scorer(
                get_head("prototype"), torch.from_numpy(embeddings), labels, None, (5 * shot, 25)
            )
            right, _ = run_episodes(scorer, sampler, options.episodes, chunk)
            seconds.append(time.perf_counter() - begin)
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
    if options.json:
        print(json.dumps({"threads": torch.get_num_threads(), "rows": rows}))
        return
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
