"""TransCLIP: all queries of an episode are answered together, by clusters that class names and support clips guide."""

from __future__ import annotations

import torch
from torch import Tensor

from kshot.heads.base import Head
from kshot.heads.formulas import membership, pool, unit
from kshot.heads.text import text_cosine
from kshot.options import Positive

OUTER, INNER = 10, 5
"""Updates of the clusters, and of the assignments between two of them."""
NEIGHBOURS = 3
TEMPER = 50
"""By which log-likelihoods are divided."""
TRUST = 0.5
"""Exponent of the class names' probabilities, where there are support clips."""
FLOOR = 1e-8
"""Least variance of a channel: where all clips are the same."""


class TransCLIP(Head):
    """TransCLIP with support clips (Zanella et al., NeurIPS 2024, arXiv 2406.01837). Transductive.

    A query's score depends on the other queries of its episode, so its figures belong beside those of other
    transductive methods only. Classes are Gaussians with means mu_c and one diagonal variance v, in embeddings x of
    unit length. With y the zero-shot probabilities, and w_ij the cosine of a query or support clip i with each of its
    three nearest (other) queries j, the assignments z of the queries (those of the support are its labels) and the
    Gaussians are found in turn, ten times:

        z_i ~ y_i^0.5 * exp(log N(x_i; mu, v) / 50 + (sum_j w_ji z_j + sum_j w_ij z_j) / 6)          five times
        mu_c ~ mean over queries of z_ic x_i + 50 gamma * mean over the support of y_ic x_i, at unit length
        v = the mean of (x - mu)^2 under the same weights

    and z once more; mu starts at the sums of the support clips, v at 1 / D. Constants as in the authors' code
    (MaxZanella/transduction-for-vlms at 6a9e8f3). Ours: gamma, which that code chooses from 0.002, 0.01, 0.02 and 0.2
    on validation clips, is fixed: the best of these on the base classes of J-HMDB. That code also joins rows of w in
    the order support, query to assignments in the order query, support, and leaves out the nearest query of a support
    clip as if it were the clip itself; here each clip has its own row. Scores are log z. A prepared clip is (1, D).

    Args:
        gamma: weight of the support clips in the Gaussians.
        text_scale: factor on the cosine with class names.
    """

    needs_text = True
    transductive = True
    is_graph = False

    def __init__(self, gamma: Positive = 0.002, text_scale: Positive = 100.0) -> None:
        super().__init__()
        self.gamma, self.text_scale = gamma, text_scale

    def prepare(self, clips: Tensor) -> Tensor:
        return pool(clips)

    def score(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> Tensor:
        query, support = query.squeeze(2), support.squeeze(2)
        names = (self.text_scale * text_cosine(query, text)).log_softmax(dim=2)
        known = membership(labels, way, query.dtype)
        among, across = neighbours(query, query, apart=True), neighbours(support, query)
        # what the labels of the support add to its nearest queries stays the same
        fixed = TRUST * names + across.mT @ known / (2 * NEIGHBOURS)
        links = (among + among.mT) / (2 * NEIGHBOURS)
        own = TEMPER * self.gamma / support.shape[1] * known
        assigned = names.exp()
        means, variance = unit(known.mT @ support), query.new_full((len(query), 1, query.shape[2]), 1 / query.shape[2])
        for turn in range(OUTER + 1):
            if turn:
                means, variance = gaussians(query, support, assigned / query.shape[1], own)
            scaled = means / variance
            # the squared query over the variance is the same for every class and left out
            likelihood = query @ scaled.mT - (means * scaled).sum(dim=2)[:, None] / 2
            for _ in range(INNER):
                scores = (fixed + likelihood / TEMPER + links @ assigned).log_softmax(dim=2)
                assigned = scores.exp()
        return scores


def neighbours(clips: Tensor, query: Tensor, apart: bool = False) -> Tensor:
    """Cosines of clips with their nearest queries, 0 elsewhere: (E, n, D), (E, Q, D) -> (E, n, Q).

    Args:
        clips: of unit length.
        query: of unit length.
        apart: the clips are the queries, and none is its own neighbour.
    """
    similar = clips @ query.mT
    itself = torch.eye(query.shape[1], dtype=torch.bool, device=query.device) if apart else similar.new_zeros(()).bool()
    nearest = similar.masked_fill(itself, -torch.inf).topk(min(NEIGHBOURS, query.shape[1] - apart), dim=2)
    return torch.zeros_like(similar).scatter(2, nearest.indices, nearest.values)


def gaussians(query: Tensor, support: Tensor, share: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Means (E, way, D) of unit length and the variance (E, 1, D) of clips under weights.

    Args:
        query: (E, Q, D).
        support: (E, N, D).
        share: (E, Q, way) weights of the queries.
        own: (E, N, way) weights of the support clips.
    """
    clips, weights = torch.cat([query, support], dim=1), torch.cat([share, own], dim=1)
    sums, sizes = weights.mT @ clips, weights.sum(dim=1)[:, :, None]
    means = unit(sums)
    squares = weights.sum(dim=2)[:, None] @ clips.square()
    squares = squares - (2 * means * sums - sizes * means.square()).sum(dim=1, keepdim=True)
    return means, (squares / sizes.sum(dim=1, keepdim=True)).clamp(min=FLOOR)
