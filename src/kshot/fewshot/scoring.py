"""Scorers: what answers the queries of episodes, and the loop over episodes that counts its right answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kshot import processes
from kshot.activations.activations import Activations
from kshot.fewshot.episodes import Episodes, Sampler
from kshot.fewshot.learner import Learner
from kshot.fewshot.strategies.base import Strategy
from kshot.heads.base import Head
from kshot.progress import Progress, quiet
from kshot.settings import EpisodeShape

if TYPE_CHECKING:
    from torch import Tensor

CHUNK_BYTES = 32 << 20  # embeddings gathered at a time: what stays in the cache is quicker
TABLE_BYTES = 512 << 20  # the largest table of pairs
PAIRED = 200  # episodes at a time whose pairs are looked up

Scorer = Callable[[Episodes], "Tensor"]
"""Scores (E, Q, way) of the queries of a batch of episodes."""


def run_episodes(
    scorer: Scorer, sampler: Sampler, episodes: int, chunk: int, progress: Progress = quiet
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """The episode loop: draws `episodes` episodes, scores `chunk` of them at a time.

    Chunks are what processes that work together deal out: each is computed as one process would, to the last bit.

    Returns:
        right: (episodes, way * query) whether each query was given its own class; ties go to the lower way.
        answers: (clips, classes) how often each clip was given each class as a query.
    """
    right = np.zeros((episodes, sampler.way * sampler.query), bool)
    answers = np.zeros((sampler.clip_count, sampler.class_count), np.int64)
    with progress("episodes", episodes, "episodes") as step:
        for start in processes.dealt(range(0, episodes, chunk)):
            for batch in sampler.batches(range(start, min(start + chunk, episodes))):
                answer = scorer(batch).argmax(-1).cpu().numpy()
                right[batch.numbers] = answer == batch.query_labels
                np.add.at(answers, (batch.query, np.take_along_axis(batch.classes, answer, 1)), 1)
            step(min(processes.world() * chunk, episodes - start))
    return processes.summed(right), processes.summed(answers)


def head_scorer(
    head: Head,
    embeddings: Tensor,
    labels: NDArray[np.int64],
    text: Tensor | None,
    shape: EpisodeShape,
    episodes: int,
    equal: bool = True,
) -> tuple[Scorer, int]:
    """A scorer by a head on stored embeddings, and how many episodes it takes at a time.

    Args:
        head: scores.
        embeddings: (n, T, P) of all clips.
        labels: (n,) class of each.
        text: (C, P) embeddings of the class names, where the head needs them.
        shape: of the episodes.
        episodes: how many will be scored.
        equal: whether all classes of an episode have as many support clips, as tables of pairs take for granted.
    """
    import torch

    own_text = text[torch.from_numpy(labels).to(text.device)] if text is not None else None
    with torch.no_grad():
        far = head.prepare(embeddings)
        near = head.prepare_support(embeddings, own_text, far)
        table = _pairs(head, far, shape, episodes) if own_text is None and equal else None
    if table is not None:
        return _pair_scorer(head, table), PAIRED

    @torch.no_grad()
    def scorer(batch: Episodes) -> Tensor:
        support, query = torch.from_numpy(batch.support), torch.from_numpy(batch.query)
        way_labels = torch.from_numpy(batch.support_labels.copy()).to(far.device)
        way_text = text[torch.from_numpy(batch.classes).to(text.device)] if text is not None else None
        far_rows, near_rows = _rows(far, query), _rows(near, support)
        scores: Tensor = head(
            far_rows, near_rows, way_labels, way_text, prepared=True, numbers=batch.numbers, way=batch.classes.shape[1]
        )
        return scores

    sizes = [(shape.shot, near), (shape.query, far)]
    each = shape.way * sum(count * x[0].numel() * x.element_size() for count, x in sizes)
    return scorer, max(1, min(2000, CHUNK_BYTES // each))


def _pairs(head: Head, clips: Tensor, shape: EpisodeShape, episodes: int) -> Tensor | None:
    """The head's table of pairs of prepared clips; None where it makes none, or where making it would be more work."""
    from kshot.heads.formulas import full

    clips, count = full(clips), len(clips)
    few = episodes * shape.way**2 * shape.shot * shape.query < count**2 // 2
    one = head.pairs(clips[:1], shape.shot)
    if one is None or few or count**2 * one.numel() * one.element_size() > TABLE_BYTES:
        return None
    return head.pairs(clips, shape.shot)


def _pair_scorer(head: Head, table: Tensor) -> Scorer:
    """A scorer that looks up what the head takes from pairs of clips."""
    import torch

    @torch.no_grad()
    def scorer(batch: Episodes) -> Tensor:
        support, query, labels = (
            torch.from_numpy(x.copy()).to(table.device) for x in (batch.support, batch.query, batch.support_labels)
        )
        return head.score_pairs(table, query, support, labels, batch.classes.shape[1])

    return scorer


def scaled_scorer(head: Head, embeddings: Tensor, shape: EpisodeShape) -> tuple[Scorer, int]:
    """As `head_scorer`, each channel centred and scaled by all frames of an episode's support clips."""
    import torch

    from kshot.heads.formulas import full, standardise, statistics

    @torch.no_grad()
    def scorer(batch: Episodes) -> Tensor:
        near = full(_rows(embeddings, torch.from_numpy(batch.support)))
        far = full(_rows(embeddings, torch.from_numpy(batch.query)))
        centre, spread = statistics(near.flatten(1, 2))
        near, far = (standardise(one.flatten(1, 2), centre, spread).view(one.shape) for one in (near, far))
        labels = torch.from_numpy(batch.support_labels.copy()).to(near.device)
        scores: Tensor = head(far, near, labels, numbers=batch.numbers, way=shape.way)
        return scores

    each = shape.way * (shape.shot + shape.query) * embeddings[0].numel() * embeddings.element_size()
    return scorer, max(1, min(2000, CHUNK_BYTES // each))


def _rows(values: Tensor, indices: Tensor) -> Tensor:
    """values (n, ...) at indices (E, K) -> (E, K, ...)."""
    picked = values.index_select(0, indices.flatten().to(values.device))
    return picked.view(*indices.shape, *values.shape[1:])


def trained_scorer(strategy: Strategy, learner: Learner, activations: Activations, way: int) -> Scorer:
    def scorer(batch: Episodes) -> Tensor:
        support, query = activations.gather(batch.support[0]), activations.gather(batch.query[0])
        return strategy.scores(learner, support, batch.support_labels[0], query, way)[None]

    return scorer


def episodic_scorer(learner: Learner, activations: Activations, text: Tensor | None) -> Scorer:
    """A scorer that embeds the clips of each episode together."""
    import torch

    def scorer(batch: Episodes) -> Tensor:
        support, query = activations.gather(batch.support[0]), activations.gather(batch.query[0])
        with torch.no_grad():
            near, far = learner.embed(support, len(support)), learner.embed_query(query, support)
            labels = torch.from_numpy(batch.support_labels.copy()).to(near.device)
            way_text = text[torch.from_numpy(batch.classes).to(text.device)] if text is not None else None
            scores: Tensor = learner.head(far[None], near[None], labels, way_text, numbers=batch.numbers)
        return scores

    return scorer
