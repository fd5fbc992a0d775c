"""The few formulas that heads share, each written once.

Letters in shapes: E episodes, Q queries, N support clips, T frames, D channels.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.backbones.places import STILL


def full(x: Tensor) -> Tensor:
    """At least single precision: cosines close to one do not survive sixteen bits."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def unit(x: Tensor) -> Tensor:
    """Vectors along the last axis brought to length one; a zero vector stays zero and its gradient finite."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / torch.where(length > 0, length, 1.0)


def pool(clips: Tensor) -> Tensor:
    """Mean over frames, then unit length: (n, T, D) -> (n, 1, D). Pooling a pooled clip changes nothing."""
    return unit(full(clips).mean(dim=-2, keepdim=True))


def change(clips: Tensor) -> Tensor:
    """How much each channel changes, at unit length: (n, T, D) -> (n, 1, 2 D), T at least 2.

    First the mean absolute difference of successive frames, then their standard deviation over time, of frames at unit
    length: without that, loud frames would seem to change more. A clip that stands still has zeros.
    """
    frames = unit(clips)
    step = (frames[:, 1:] - frames[:, :-1]).abs().mean(dim=1, keepdim=True)
    variance = (frames - frames.mean(dim=1, keepdim=True)).square().mean(dim=1, keepdim=True)
    both = torch.cat([step, root(variance)], dim=-1)
    return unit(torch.where(torch.linalg.vector_norm(both.detach(), dim=-1, keepdim=True) > STILL, both, 0.0))


def root(x: Tensor) -> Tensor:
    """Square root of numbers of at least 0, with a gradient that is finite at 0."""
    return torch.where(x > 0, torch.where(x > 0, x, 1.0).sqrt(), 0.0)


def statistics(support: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and spread (E, 1, D) of each channel over support clips (E, N, D).

    With five clips a channel's variance is mostly luck, and dividing by it would raise the noise; so the mean variance
    of all channels is added to each. On base classes of `motion` and of J-HMDB any share of it from a half to two was
    as good.
    """
    centre = support.mean(dim=1, keepdim=True)
    variance = (support - centre).square().mean(dim=1, keepdim=True)
    return centre, root(variance + variance.mean(dim=-1, keepdim=True))


def standardise(x: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
    """Channels (E, n, D) centred and scaled by `statistics`; where nothing spreads they are centred alone."""
    return (x - centre) / torch.where(spread > 0, spread, 1.0)


def cosine(query: Tensor, others: Tensor) -> Tensor:
    """Cosine of every query with every other vector: (E, Q, D), (E, K, D) -> (E, Q, K)."""
    return unit(query) @ unit(others).mT


def membership(labels: Tensor, way: int, dtype: torch.dtype) -> Tensor:
    """One-hot labels: (E, N) -> (E, N, way)."""
    numbers = torch.arange(way, device=labels.device)  # one_hot looks at the labels, for which a GPU would be waited
    return (labels[..., None] == numbers).to(dtype)


def class_means(x: Tensor, labels: Tensor, way: int) -> Tensor:
    """Mean of each class along axis 1: (E, N, ...) -> (E, way, ...). Classes may differ in size.

    With one clip a class this only puts the clips in the order of their labels.
    """
    member = membership(labels, way, x.dtype)
    shares = member / member.sum(dim=1, keepdim=True).clamp(min=1)
    return (shares.mT @ x.reshape(*labels.shape, -1)).view(x.shape[0], way, *x.shape[2:])


def soft_min(*values: Tensor, smooth: float) -> Tensor:
    """Smooth minimum -smooth * log(sum(exp(-value / smooth))), elementwise, over its arguments.

    Computed by log-sum-exp of pairs: the formula as it reads becomes infinite once a value passes
    about 88 * smooth in single precision.
    """
    return -smooth * reduce(torch.logaddexp, [-value / smooth for value in values])


def frame_distances(query: Tensor, support: Tensor) -> Tensor:
    """1 - cosine of every frame of a query with every frame of a support clip.

    (E, Q, T, D), (E, N, S, D) -> (T, S, E, Q, N). Frames come first, so that an alignment, which walks
    over frames, does each of its steps on all pairs of clips, contiguous in memory.
    """
    similar = cosine(query.flatten(1, 2), support.flatten(1, 2))
    similar = similar.view(*query.shape[:3], *support.shape[1:3])
    return 1 - similar.permute(2, 4, 0, 1, 3).contiguous()


def held_out_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of each episode: (E, N, way), (E, N) -> (E,). What leave-one-out choices compare."""
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.view(labels.shape).mean(dim=1)


def by_class(x: Tensor, labels: Tensor, way: int) -> tuple[Tensor, Tensor]:
    """Support clips in a row for each class: (E, N, ...), (E, N) -> (E, way, S, ...), (E, way, S).

    S is the size of the largest class. The second tensor says which places hold a clip; a smaller class is
    filled up with the first clip of the episode.
    """
    episodes, clips = labels.shape
    shots = clips // way
    if shots * way == clips and bool((labels == torch.arange(clips, device=labels.device) // shots).all()):
        return x.view(episodes, way, shots, *x.shape[2:]), labels.new_ones(episodes, way, shots, dtype=torch.bool)
    member = F.one_hot(labels, way)
    rank = member.cumsum(dim=1).gather(2, labels[:, :, None])[:, :, 0] - 1
    shots = int(rank.max()) + 1
    episode = torch.arange(episodes, device=labels.device)[:, None]
    index = labels.new_zeros(episodes, way, shots)
    index[episode, labels, rank] = torch.arange(clips, device=labels.device)
    return x[episode[:, :, None], index], torch.arange(shots, device=labels.device) < member.sum(dim=1)[:, :, None]
