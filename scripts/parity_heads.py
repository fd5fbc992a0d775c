"""Heads written a second time, from their papers' formulas and published codes, one episode after the other.

Nothing here uses `kshot.heads` but for the weights that a head has learned and what Baseline++ has drawn. Letters in
shapes: Q queries, N support clips, T frames, D channels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

Reference = Callable[[Any, Tensor, Tensor, Tensor, Tensor, int], Tensor]
"""(head, query (Q, T, D), support (N, T, D), labels (N,), text (way, D), number of the episode) -> scores (Q, way)."""


def _mean(clips: Tensor) -> Tensor:
    return F.normalize(clips.mean(1), dim=1)


def _classes(values: Tensor, labels: Tensor) -> Tensor:
    """Mean of each class along the first axis."""
    return torch.stack([values[labels == k].mean(0) for k in range(int(labels.max()) + 1)])


def prototype(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    return 20 * _mean(query) @ F.normalize(_classes(_mean(support), labels), dim=1).T


def nearest(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    similar = _mean(query) @ _mean(support).T
    return 20 * torch.stack([similar[:, labels == k].amax(1) for k in range(len(text))], 1)


def changes(clips: Tensor) -> Tensor:
    """Mean absolute steps and standard deviations over time of frames at unit length, together at unit length."""
    frames = F.normalize(clips, dim=2)
    return F.normalize(torch.cat([frames.diff(dim=1).abs().mean(1), frames.std(1, correction=0)], 1), dim=1)


def change(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    near, far = changes(support), changes(query)
    variance = near.var(0, correction=0)
    spread = (variance + variance.mean()).sqrt()
    near, far = (F.normalize((x - near.mean(0)) / spread, dim=1) for x in (near, far))
    return 20 * far @ F.normalize(_classes(near, labels), dim=1).T


def both(head: Any, *episode: Any) -> Tensor:
    return prototype(head, *episode) + change(head, *episode)


def walk(distances: Tensor, smooth: float) -> Tensor:
    """OTAM's table for many pairs: (rows, columns, pairs) -> (pairs,), cell after cell as in the recurrence."""

    def soft(*values: Tensor) -> Tensor:
        return -smooth * torch.logsumexp(torch.stack([-value / smooth for value in values]), 0)

    rows, last = distances.shape[0], distances.shape[1] + 1
    wide = F.pad(distances.permute(2, 0, 1), (1, 1)).permute(1, 2, 0)
    cost = {(row, 0): torch.zeros_like(wide[0, 0]) for row in range(rows)}
    for at in range(1, last + 1):
        cost[0, at] = wide[0, at] + cost[0, at - 1]
    for row, at in itertools.product(range(1, rows), range(1, last + 1)):
        steps = [cost[row - 1, at - 1], cost[row, at - 1]] + ([cost[row - 1, at]] if at in (1, last) else [])
        cost[row, at] = wide[row, at] + soft(*steps)
    return cost[rows - 1, last]


def frames_apart(query: Tensor, clips: Tensor) -> Tensor:
    """1 - cosine of all frames: (T, S, Q * n)."""
    cosines = torch.einsum("qtd,nsd->tsqn", F.normalize(query, dim=2), F.normalize(clips, dim=2))
    return 1 - cosines.flatten(2)


def aligned(query: Tensor, clips: Tensor, smooth: float) -> Tensor:
    table = frames_apart(query, clips)
    return (walk(table, smooth) + walk(table.transpose(0, 1), smooth)).view(len(query), len(clips))


def otam(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    return -_classes(aligned(query, support, 0.1).T, labels).T


def otam_as_it_is(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    lengths = torch.einsum("qt,ns->tsqn", query.norm(dim=2), support.norm(dim=2))
    table = 1 - torch.einsum("qtd,nsd->tsqn", query, support) / (lengths + 0.01)
    table = table.flatten(2)
    apart = (walk(table, 0.1) + walk(table.transpose(0, 1), 0.1)).view(len(query), len(support))
    return -_classes(apart.T, labels).T


def otam_of_clip_fsar(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    return -aligned(query, _classes(support, labels), 0.5)


def bimhm(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    table = frames_apart(query, _classes(support, labels))
    return -(table.amin(0).sum(0) + table.amin(1).sum(0)).view(len(query), -1)


def trx(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    """Tuples formed, keys and values of each, attention to all tuples of a class, squared distances."""
    frames, channels = query.shape[1:]
    place = torch.arange(frames, dtype=query.dtype)[:, None]
    angle = place * 10000 ** (-torch.arange(0, channels, 2, dtype=query.dtype) / channels)
    wave = 0.1 * torch.stack([angle.sin(), angle.cos()], 2).flatten(1)
    scores = []
    for relation in head.relations:
        chosen = list(itertools.combinations(range(frames), relation.size))
        far, near = (torch.stack([(x + wave)[:, list(t)].flatten(1) for t in chosen], 1) for x in (query, support))
        asked, own = relation.norm(relation.keys(far)), []
        for k in range(len(text)):
            mine = near[labels == k].flatten(0, 1)
            logits = asked @ relation.norm(relation.keys(mine)).T / math.sqrt(relation.width)
            found = logits.softmax(-1) @ relation.values(mine)
            own.append(-(relation.values(far) - found).square().sum((1, 2)) / len(chosen))
        scores.append(torch.stack(own, 1))
    return torch.stack(scores).mean(0)


def clip_fsar(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    def layer(x: Tensor) -> Tensor:
        own, n = head.layer, F.layer_norm(x, x.shape[-1:], head.layer.norm.weight, head.layer.norm.bias)
        q, k, v = ((n @ part.T).unflatten(-1, (8, -1)).transpose(1, 2) for part in own.attend.weight.chunk(3))
        seen = ((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + F.linear(seen, own.out[0].weight, own.out[0].bias)
        inner = F.gelu(F.linear(x, own.forth[0].weight, own.forth[0].bias))
        return x + F.linear(inner, own.forth[3].weight, own.forth[3].bias)

    means = torch.cat([_classes(support, labels), text[:, None]], 1)
    return -aligned(layer(query), layer(means)[:, :-1], 0.5)


def linear_probe(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    """scikit-learn's logistic regression at the same strength."""
    solved = LogisticRegression(C=10.0, tol=1e-10, max_iter=10_000).fit(_mean(support).numpy(), labels.numpy())
    return torch.from_numpy(solved.decision_function(_mean(query).numpy()))


def baseline_pp(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    """PyTorch's weight norm and SGD on all channels, from what the head has drawn for the episode."""
    clips, way = _mean(support), len(text)
    order = sorted(range(len(clips)), key=lambda i: (int(labels[i]), float(clips[i].sum())))
    clips, labels = clips[order], labels[order]
    linear = torch.nn.Linear(clips.shape[1], way, bias=False, dtype=clips.dtype)
    torch.nn.utils.parametrizations.weight_norm(linear, dim=0)
    linear.weight = head.first([number], way, clips.shape[1])[0].to(clips)
    descent = torch.optim.SGD(linear.parameters(), 0.01, momentum=0.9, dampening=0.9, weight_decay=1e-3)
    with torch.enable_grad():
        for epoch in head.order([number], way, clips.shape[1], len(clips))[0]:
            for batch in epoch.split(4):
                descent.zero_grad()
                F.cross_entropy(2 * linear(clips[batch]), labels[batch]).backward()
                descent.step()
    return 2 * linear(_mean(query)).detach()


def meta_baseline(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    means = _classes(support.mean(1), labels)
    return head.temperature * F.cosine_similarity(query.mean(1)[:, None], means[None], dim=2)


def names(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    return 100 * _mean(query) @ F.normalize(text, dim=1).T


def tip_adapter(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    keys, values = _mean(support), F.one_hot(labels).to(query)
    return names(head, query, support, labels, text, number) + (5.5 * (_mean(query) @ keys.T - 1)).exp() @ values


def tip_adapter_f(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    clips, values = _mean(support), F.one_hot(labels).to(query)
    keys = torch.nn.Parameter(clips.clone())
    descent = torch.optim.AdamW([keys], 0.001, eps=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(descent, 20)
    words = names(head, support, support, labels, text, number)
    with torch.enable_grad():
        for _ in range(20):
            descent.zero_grad()
            F.cross_entropy(words + (5.5 * (clips @ keys.T - 1)).exp() @ values, labels).backward()
            descent.step()
            schedule.step()
    said = (5.5 * (_mean(query) @ keys.detach().T - 1)).exp() @ values
    return names(head, query, support, labels, text, number) + said


def fusion(head: Any, *episode: Any) -> Tensor:
    """CLIP-FSAR's product of probabilities at its weight 0.5 (kshot's own rule for the weight is another matter)."""
    return (names(head, *episode).log_softmax(1) + prototype(head, *episode).log_softmax(1)) / 2


def product(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    """Means of embeddings as they are, then cosines."""
    asked = F.normalize(query.mean(1), dim=1)
    means = F.normalize(_classes(support.mean(1), labels), dim=1)
    return 64 * (asked @ means.T) * (asked @ F.normalize(text, dim=1).T)


def product_trx(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    """Every tuple formed; all cosines between the values that a query's tuples have and find, and their mean."""
    frames, channels = query.shape[1:]
    place = torch.arange(frames, dtype=query.dtype)[:, None]
    angle = place * 10000 ** (-torch.arange(0, channels, 2, dtype=query.dtype) / channels)
    wave = 0.1 * torch.stack([angle.sin(), angle.cos()], 2).flatten(1)
    scores = []
    for size, keys, values, norm in zip(head.sizes, head.keys, head.values, head.norms, strict=True):
        chosen = list(itertools.combinations(range(frames), size))
        far, near = (torch.stack([(x + wave)[:, list(t)].flatten(1) for t in chosen], 1) for x in (query, support))
        own = []
        for k in range(len(text)):
            mine = near[labels == k].flatten(0, 1)
            logits = norm(keys(far)) @ norm(keys(mine)).T / math.sqrt(head.width)
            found = logits.softmax(-1) @ values(mine)
            cosines = F.normalize(values(far), dim=2) @ F.normalize(found, dim=2).mT
            own.append(cosines.mean((1, 2)))
        scores.append(torch.stack(own, 1))
    words = F.normalize(query.mean(1), dim=1) @ F.normalize(text, dim=1).T
    return 64 * torch.stack(scores).mean(0) * words
