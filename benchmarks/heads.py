"""Time of heads on many episodes: 5-way, 8 frames, 512 channels, 1,300 stored clips at 1 shot, and 420 at 1 and 5.

    python benchmarks/heads.py [--episodes 10000] [--query 1] [--rounds 3] [--threads N] [--features F.npz] [--json]

Batched heads run as `kshot evaluate` runs them: clips prepared once (counted), episodes drawn, embeddings gathered a
chunk at a time, one call of the head a chunk. Against them, in the same run and on the same episodes, one episode at
a time:
  paper   the formulas as the papers write them, a loop over classes or over cells of the alignment
  head    kshot's own head, called with a single episode of raw embeddings
  sklearn scikit-learn's LogisticRegression, fitted and asked once an episode
  rival   OTAM and Bi-MHM as CLIP-FSAR's function has them, fed 500 episodes at once: frames at unit length in each
          episode, support clips averaged, OTAM cell by cell with plain exponentials (420 clips, 5 queries a class)
Slow sides, and the heads that are compared with them, are timed on fewer episodes and scaled to all; scores or answers
of both sides must agree. The data for the linear probe is `--features`, by default the J-HMDB features of the shared
data folder where there is one, else random clusters.

Seconds are of the clock, the best of the rounds. Ratios are of processor time, which other load on the machine moves
less, the median of the rounds; with more than one thread they say the same as the clock of an idle machine, as long as
both sides keep their threads equally busy.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.fewshot.episodes import Sampler
from kshot.fewshot.scoring import head_scorer
from kshot.heads import Head, get_head
from kshot.heads.trx import positions
from kshot.settings import EpisodeShape

WAY, FRAMES, CHANNELS, CLIPS, CLASSES = 5, 8, 512, 1300, 10
SHARED = Path(__file__).resolve().parents[2] / "shared/data/features/jhmdb_mobilenetv2.npz"
GOALS = {"otam": "<= 3 s", "bimhm": "<= 3 s", "trx": ">= 20x", "clip-fsar": ">= 20x", "linear-probe": ">= 50x"}

Score = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def trx(head: Any) -> Score:
    """Perrett et al.: tuples of frames, mapped, normalised, attended to class by class."""

    def score(query: Tensor, support: Tensor, labels: Tensor, text: Tensor) -> Tensor:
        place = positions(*query.shape[1:])
        query, support = query + place, support + place
        total = torch.zeros(len(query), WAY)
        for relation in head.relations:
            tuples = [list(t) for t in itertools.combinations(range(FRAMES), relation.size)]
            asked, known = (torch.stack([x[:, t].flatten(1) for t in tuples], 1) for x in (query, support))
            asked_keys, known_keys = relation.norm(relation.keys(asked)), relation.norm(relation.keys(known))
            asked_values, known_values = relation.values(asked), relation.values(known)
            for k in range(WAY):
                keys, values = known_keys[labels == k].flatten(0, 1), known_values[labels == k].flatten(0, 1)
                found = (asked_keys @ keys.T / math.sqrt(relation.width)).softmax(-1) @ values
                total[:, k] -= (asked_values - found).square().sum((1, 2)) / len(tuples) / len(head.relations)
        return total

    return score


def clip_fsar(head: Any) -> Score:
    """Wang et al.: one transformer layer, then OTAM by its recurrence, cell by cell on all pairs of the episode."""

    def soft_min(*values: Tensor) -> Tensor:
        return -0.5 * torch.logsumexp(torch.stack([-value / 0.5 for value in values]), 0)

    def align(distances: Tensor) -> Tensor:
        padded = F.pad(distances, (1, 1))
        cost = [[torch.zeros_like(padded[..., 0, 0]) for _ in range(FRAMES + 2)] for _ in range(FRAMES)]
        for m in range(1, FRAMES + 2):
            cost[0][m] = padded[..., 0, m] + cost[0][m - 1]
        for r in range(1, FRAMES):
            cost[r][1] = padded[..., r, 1] + soft_min(cost[r - 1][0], cost[r - 1][1], cost[r][0])
            for m in range(2, FRAMES + 1):
                cost[r][m] = padded[..., r, m] + soft_min(cost[r - 1][m - 1], cost[r][m - 1])
            cost[r][-1] = padded[..., r, -1] + soft_min(cost[r - 1][-2], cost[r - 1][-1], cost[r][-2])
        return cost[-1][-1]

    def score(query: Tensor, support: Tensor, labels: Tensor, text: Tensor) -> Tensor:
        query = head.layer(query)
        support = head.layer(torch.cat([support, text[labels][:, None]], 1))[:, :FRAMES]
        support = torch.stack([support[labels == k].mean(0) for k in range(WAY)])
        similar = F.normalize(query.flatten(0, 1), dim=1) @ F.normalize(support.flatten(0, 1), dim=1).T
        distances = 1 - similar.view(len(query), FRAMES, WAY, FRAMES).transpose(1, 2)
        return -align(distances) - align(distances.mT)

    return score


def clock(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds of the clock, seconds of the processor, what came out."""
    wall, busy = time.perf_counter(), time.process_time()
    out = work()
    return time.perf_counter() - wall, time.process_time() - busy, out


class Bench:
    """Random clips of random classes, and episodes of them."""

    def __init__(self, query: int, episodes: int, rounds: int) -> None:
        rng = np.random.default_rng(0)
        self.labels = np.repeat(np.arange(CLASSES), CLIPS // CLASSES)
        centres = rng.normal(size=(CLASSES, 1, CHANNELS))
        clips = 0.2 * centres[self.labels] + 0.5 * rng.normal(size=(CLIPS, FRAMES, CHANNELS))
        self.clips = torch.from_numpy(clips.astype(np.float32))
        self.text = torch.from_numpy(centres[:, 0].astype(np.float32))
        self.sampler = Sampler(self.labels, tuple(map(str, range(CLASSES))), way=WAY, shot=1, query=query)
        self.episodes, self.rounds, self.shape = episodes, rounds, EpisodeShape(way=WAY, shot=1, query=query)

    def batched(self, head: Head, episodes: int) -> tuple[float, float, Tensor]:
        """As evaluation does it, scaled from `episodes` to all; preparing the clips is not scaled."""
        text = self.text if head.needs_text else None
        wall, busy, (scorer, chunk) = clock(
            lambda: head_scorer(head, self.clips, self.labels, text, self.shape, self.episodes)
        )

        def run() -> Tensor:
            starts = range(0, episodes, chunk)
            return torch.cat([scorer(self.sampler.draw(range(i, min(i + chunk, episodes)))) for i in starts])

        more_wall, more_busy, scores = clock(run)
        scale = self.episodes / episodes
        return wall + scale * more_wall, busy + scale * more_busy, scores

    def single(self, score: Score, episodes: int) -> tuple[float, float, Tensor]:
        """One episode at a time from raw embeddings, scaled to all."""

        def run() -> Tensor:
            scores = []
            for i in range(episodes):
                drawn = self.sampler.draw([i])
                text = self.text[torch.from_numpy(drawn.classes[0])]
                labels = torch.from_numpy(drawn.support_labels[0].copy())
                scores.append(score(self.clips[drawn.query[0]], self.clips[drawn.support[0]], labels, text))
            return torch.stack(scores)

        wall, busy, scores = clock(run)
        scale = self.episodes / episodes
        return scale * wall, scale * busy, scores

    def alignment(self, name: str) -> dict[str, Any]:
        head = get_head(name).eval()
        seconds = [self.batched(head, self.episodes)[:2] for _ in range(self.rounds)]
        wall, busy = (min(column) for column in zip(*seconds, strict=True))
        return {"head": name, "seconds": wall, "processor_seconds": busy, "goal": GOALS[name]}

    def learned(self, name: str, paper: Callable[[Any], Score], some: int, few: int) -> dict[str, Any]:
        torch.manual_seed(0)
        head = get_head(name, dim=CHANNELS).eval()
        head.trained = True

        def alone(query: Tensor, support: Tensor, labels: Tensor, text: Tensor) -> Tensor:
            return head(query[None], support[None], labels[None], text[None])[0]

        rounds = []
        for _ in range(self.rounds):
            batched, loop, single = (
                self.batched(head, some),
                self.single(paper(head), few),
                self.single(alone, few),
            )
            torch.testing.assert_close(batched[2][:few], loop[2], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(batched[2][:few], single[2], rtol=1e-4, atol=1e-4)
            rounds.append({"batched": batched[:2], "paper": loop[:2], "head": single[:2]})
        row: dict[str, Any] = {"head": name, "goal": GOALS[name], "timed_on": some, "loop_timed_on": few}
        row["seconds"] = min(r["batched"][0] for r in rounds)
        for side in ("paper", "head"):
            row[f"{side}_seconds"] = min(r[side][0] for r in rounds)
            row[f"times_{side}"] = statistics.median(r[side][1] / r["batched"][1] for r in rounds)
        return row


def rival(name: str, smooth: float) -> Score:
    """Bi-MHM, or OTAM cell by cell, of many episodes at once: query (E, Q, T, D), support (E, N, T, D) by class."""

    def soft_min(*values: Tensor) -> Tensor:
        return -smooth * torch.log(functools.reduce(torch.add, (torch.exp(-value / smooth) for value in values)))

    def align(distances: Tensor) -> Tensor:
        padded = F.pad(distances, (1, 1))
        cost = torch.zeros_like(padded)
        for m in range(1, FRAMES + 2):
            cost[..., 0, m] = padded[..., 0, m] + cost[..., 0, m - 1]
        for r in range(1, FRAMES):
            before, here = cost[..., r - 1, :], cost[..., r, :]
            here[..., 1] = padded[..., r, 1] + soft_min(before[..., 0], before[..., 1], here[..., 0])
            for m in range(2, FRAMES + 1):
                here[..., m] = padded[..., r, m] + soft_min(before[..., m - 1], here[..., m - 1])
            here[..., -1] = padded[..., r, -1] + soft_min(before[..., -2], before[..., -1], here[..., -2])
        return cost[..., -1, -1]

    def score(query: Tensor, support: Tensor, labels: Tensor, text: Tensor) -> Tensor:
        support = support.view(len(support), WAY, -1, *support.shape[2:]).mean(2)
        similar = F.normalize(query.flatten(1, 2), dim=2) @ F.normalize(support.flatten(1, 2), dim=2).mT
        distances = 1 - similar.view(*query.shape[:3], WAY, FRAMES).transpose(2, 3)
        if name == "bimhm":
            return -(distances.amin(4).sum(3) + distances.amin(3).sum(3))
        return -align(distances) - align(distances.mT)

    return score


def fed_at_once(name: str, shot: int, episodes: int, few: int, rounds: int) -> dict[str, Any]:
    """A frame-by-frame head as `kshot evaluate` runs it, against its rival; the rival's `few` episodes are scaled."""
    rng = np.random.default_rng(0)
    classes, query, batch = 21, 5, 500
    labels = np.repeat(np.arange(classes), 20)
    clips = 0.2 * rng.normal(size=(classes, 1, CHANNELS))[labels] + 0.5 * rng.normal(size=(420, FRAMES, CHANNELS))
    stored = torch.from_numpy(clips.astype(np.float32))
    options = {"shots": "features", "smooth": 0.5} if name == "otam" else {"shots": "features"}
    head, other = get_head(name, **options).eval(), rival(name, 0.5)
    sampler = Sampler(labels, tuple(map(str, range(classes))), way=WAY, shot=shot, query=query)
    drawn = [sampler.draw(range(i, i + batch)) for i in range(0, episodes, batch)]

    def batched() -> Tensor:
        shape = EpisodeShape(way=WAY, shot=shot, query=query)
        scorer, chunk = head_scorer(head, stored, labels, None, shape, episodes)
        starts = range(0, episodes, chunk)
        return torch.cat([scorer(sampler.draw(range(i, min(i + chunk, episodes)))) for i in starts])

    def at_once() -> Tensor:
        return torch.cat([other(stored[d.query], stored[d.support], stored, stored) for d in drawn[: few // batch]])

    ratios, seconds = [], []
    for _ in range(rounds):
        wall, busy, found = clock(batched)
        _, other_busy, expected = clock(at_once)
        torch.testing.assert_close(found[:few], expected, rtol=1e-4, atol=1e-4)
        ratios.append(other_busy * episodes / few / busy)
        seconds.append(wall)
    row = {"head": name, "shot": shot, "seconds": min(seconds), "times_rival": statistics.median(ratios)}
    return row | {"goal": ">= 5x" if shot == 1 else ">= 2x", "loop_timed_on": few}


def probe(features: Path | None, shot: int, episodes: int, few: int, rounds: int) -> dict[str, Any]:
    """The linear probe against scikit-learn on the same pooled clips; 5 queries a class, to count answers."""
    from sklearn.linear_model import LogisticRegression

    if features is not None:
        with np.load(features) as data:
            clips, (classes, labels) = (
                data["features"].astype(np.float32),
                np.unique(data["label"], return_inverse=True),
            )
    else:
        rng = np.random.default_rng(0)
        classes, labels = np.arange(CLASSES), np.repeat(np.arange(CLASSES), CLIPS // CLASSES)
        clips = 0.3 * rng.normal(size=(CLASSES, 1, CHANNELS))[labels] + rng.normal(size=(CLIPS, FRAMES, CHANNELS))
    clips = torch.from_numpy(np.asarray(clips, np.float32))
    head = get_head("linear-probe")
    sampler = Sampler(labels, tuple(map(str, classes)), way=WAY, shot=shot)
    pooled = head.prepare(clips)[:, 0].numpy()

    def batched() -> np.ndarray:
        scorer, chunk = head_scorer(head, clips, labels, None, EpisodeShape(way=WAY, shot=shot), episodes)
        starts = range(0, episodes, chunk)
        answers = [scorer(sampler.draw(range(i, min(i + chunk, episodes)))).argmax(-1) for i in starts]
        return torch.cat(answers).numpy()

    def one_by_one() -> np.ndarray:
        answers = []
        for i in range(few):
            drawn = sampler.draw([i])
            model = LogisticRegression(C=head.C, max_iter=1000)
            model.fit(pooled[drawn.support[0]], drawn.support_labels[0])
            answers.append(model.predict(pooled[drawn.query[0]]))
        return np.stack(answers)

    ratios, seconds, loops = [], [], []
    for _ in range(rounds):
        wall, busy, answers = clock(batched)
        loop_wall, loop_busy, expected = clock(one_by_one)
        ratios.append(loop_busy * episodes / few / busy)
        seconds.append(wall)
        loops.append(loop_wall * episodes / few)
    return {
        "head": "linear-probe",
        "data": features.name if features is not None else "random clusters",
        "shot": shot,
        "goal": GOALS["linear-probe"],
        "seconds": min(seconds),
        "sklearn_seconds": min(loops),
        "times_sklearn": statistics.median(ratios),
        "same_answers": float((answers[:few] == expected).mean()),
        "loop_timed_on": few,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--query", type=int, default=1, help="queries a class, but for the linear probe")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--features", type=Path, default=SHARED if SHARED.is_file() else None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", category=FutureWarning)
    bench = Bench(options.query, options.episodes, options.rounds)
    with torch.inference_mode():
        rows = [
            fed_at_once(name, shot, options.episodes, min(1000, options.episodes), options.rounds)
            for shot in (1, 5)
            for name in ("otam", "bimhm")
        ]
        rows += [bench.alignment(name) for name in ("otam", "bimhm")]
        rows.append(bench.learned("trx", trx, some=400, few=20))
        rows.append(bench.learned("clip-fsar", clip_fsar, some=2000, few=40))
        rows += [probe(options.features, shot, options.episodes, 300, options.rounds) for shot in (1, 5)]
    if options.json:
        print(json.dumps(rows))
        return
    print(f"{options.episodes} episodes, {options.threads} threads")
    for row in rows:
        line = f"{row['head']:<12} {row['seconds']:7.2f} s"
        if "processor_seconds" in row:
            line += f" ({row['processor_seconds']:.2f} s of processor time)"
        for side in ("paper", "head", "sklearn"):
            if f"times_{side}" in row:
                line += f"; {side} one at a time {row[f'{side}_seconds']:8.1f} s, {row[f'times_{side}']:6.1f}x"
        if "times_rival" in row:
            line += f"; {row['shot']} shot, 420 clips, rival fed 500 episodes at once {row['times_rival']:6.1f}x"
        if "same_answers" in row:
            line += f"; {row['shot']} shot, same answers {100 * row['same_answers']:.2f} % ({row['data']})"
        print(f"{line}   goal {row['goal']}")


if __name__ == "__main__":
    main()
