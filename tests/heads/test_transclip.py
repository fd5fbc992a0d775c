"""TransCLIP: queries are answered together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.heads import HEADS, TRANSDUCTIVE, find, get_head
from kshot.heads.transclip import gaussians, neighbours

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def test_the_list_of_transductive_heads_is_what_they_say() -> None:
    assert {name for name in HEADS if find(name).transductive} == TRANSDUCTIVE == {"transclip"}


def test_neighbours_by_hand() -> None:
    angles = torch.tensor([0.0, 0.1, 0.3, 0.6, 1.0], dtype=torch.float64)
    query = torch.stack([angles.cos(), angles.sin()], 1)[None]
    links = neighbours(query, query, apart=True)[0]
    assert [row.nonzero()[:, 0].tolist() for row in links] == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [1, 2, 4], [1, 2, 3]]
    torch.testing.assert_close(links[0, 2], angles[2].cos())
    assert neighbours(query[:, :1], query)[0].nonzero()[:, 1].tolist() == [0, 1, 2]  # of a clip that is no query
    assert not neighbours(query[:, :1], query[:, :1], apart=True).any()  # a query alone has none


def test_gaussians_are_weighted_means(draw: Draw) -> None:
    query, support, labels, _ = draw(episodes=1)
    x, f = query.mean(2), support.mean(2)
    share = torch.rand(1, 4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    own = 0.3 * F.one_hot(labels, 3).double()
    means, variance = gaussians(x, f, share, own)
    clips, weights = torch.cat([x, f], 1)[0], torch.cat([share, own], 1)[0]
    torch.testing.assert_close(means[0], F.normalize(weights.T @ clips, dim=1))
    wanted = (weights[:, :, None] * (clips[:, None] - means[0][None]).square()).sum((0, 1)) / weights.sum()
    torch.testing.assert_close(variance[0, 0], wanted)


def test_queries_of_a_cluster_help_each_other() -> None:
    """A query between two classes goes with the cluster of queries beside it, and did not go there alone."""

    def clips(*angles: float) -> Tensor:
        at, random = torch.tensor(angles, dtype=torch.float64), torch.Generator().manual_seed(0)
        spread = 0.02 * torch.randn(len(angles), 6, generator=random).double()
        return torch.cat([torch.stack([at.cos(), at.sin()], 1), spread], 1).view(1, -1, 1, 8)

    support, text, labels = clips(0.0, 1.5), clips(0.0, 1.5)[:, :, 0], torch.tensor([[0, 1]])
    query = clips(0.78, 0.5, 0.52, 0.54, 0.56, 0.6, 1.5, 1.45, 1.48, 1.52)
    head = get_head("transclip", text_scale=5.0)
    assert head(query[:, :1], support, labels, text)[0, 0].exp().argmax() == 1
    assert head(query, support, labels, text)[0].argmax(1).tolist() == [0] * 6 + [1] * 4


def test_scores_are_log_probabilities_and_the_support_counts(draw: Draw) -> None:
    query, support, labels, text = draw(query=8)
    scores = get_head("transclip")(query, support, labels, text)
    torch.testing.assert_close(scores.exp().sum(2), torch.ones(3, 8, dtype=torch.float64))
    assert not torch.allclose(scores, get_head("transclip", gamma=2.0)(query, support, labels, text))
