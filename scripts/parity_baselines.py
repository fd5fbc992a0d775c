"""Few-shot baselines of CLIP written a second time, from their formulas, with PyTorch's own optimisers.

As in `parity_heads.py`: nothing here uses `kshot.heads`. Letters in shapes: Q queries, N support clips, D channels.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from parity_heads import _classes, _mean
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F


def clap(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    """The multipliers from the zero-shot probabilities, then 300 steps of SGD."""
    return _probe(query, support, labels, text, constraint=True)


def zs_lp(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    return _probe(query, support, labels, text, constraint=False)


def _probe(query: Tensor, support: Tensor, labels: Tensor, text: Tensor, constraint: bool) -> Tensor:
    clips, names = _mean(support), 10 * F.normalize(text, dim=1)
    chances = (100 * clips @ F.normalize(text, dim=1).T).softmax(1)
    multipliers = torch.stack([chances[labels == k, k].mean() for k in range(len(text))])
    weights = torch.nn.Parameter(names.clone())
    descent = torch.optim.SGD([weights], 1e-5, momentum=0.9)
    with torch.enable_grad():
        for step in range(300):
            loss = F.cross_entropy(100 * clips @ F.normalize(weights, dim=1).T, labels)
            if constraint:
                loss = loss + (multipliers * (weights - names).square().sum(1)).mean()
            descent.zero_grad()
            loss.backward()
            descent.step()
            descent.param_groups[0]["lr"] = 0.05 * (1 + np.cos(np.pi * step / 300))
    return 100 * _mean(query) @ F.normalize(weights.detach(), dim=1).T


def lp_pp(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    """Two blocks with step sizes of their own; alpha moves by the gradient of its step alone, and there is no bias."""
    clips, names, count = _mean(support), F.normalize(text, dim=1), len(labels)
    pace = 4 * count / float(torch.linalg.eigvalsh(clips.T @ clips)[-1])
    own = [(clips[labels == k] @ names[k]).mean() for k in range(len(names))]
    weights = torch.nn.Parameter(torch.stack([clips[labels == k].sum(0) for k in range(len(names))]))
    alpha = (250 * torch.stack(own).mean() * torch.ones(len(names), dtype=clips.dtype)).requires_grad_()
    descent = torch.optim.SGD([weights], pace, momentum=0.9)
    with torch.enable_grad():
        for step in range(300):
            descent.zero_grad()
            alpha.grad = None
            F.cross_entropy(clips @ (weights + alpha[:, None] * names).T, labels).backward()
            descent.step()
            if step % 10 == 9:
                alpha.data -= count / (4 * (clips @ names.T).square().sum(0).max()) * alpha.grad  # type: ignore[operator]
    return _mean(query) @ (weights + alpha[:, None] * names).detach().T


def hoso(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    """The ratio by scipy's search on the held-out clips, each the first of its class by the sum of its channels."""
    clips, names, way = _mean(support), F.normalize(text, dim=1), len(text)
    held = [min((int(i) for i in (labels == k).nonzero()), key=lambda i: float(clips[i].sum())) for k in range(way)]
    rest = [i for i in range(len(labels)) if i not in held]
    if not rest:
        means, ratio = F.normalize(_classes(clips, labels), dim=1), 0.5
    else:
        means = F.normalize(_classes(clips[rest], labels[rest]), dim=1)

        def loss(r: float) -> float:
            scores = 100 * ((1 - r) * clips[held] @ names.T + r * clips[held] @ means.T)
            return float(F.cross_entropy(scores, labels[held]))

        ratio = float(minimize_scalar(loss, bounds=(0, 1), method="bounded", options={"xatol": 1e-12}).x)
    return 100 * ((1 - ratio) * _mean(query) @ names.T + ratio * _mean(query) @ means.T)


def transclip(head: Any, query: Tensor, support: Tensor, labels: Tensor, text: Tensor, number: int) -> Tensor:
    """Query after query and class after class, with gamma 0.002."""
    asked, shown, names = _mean(query), _mean(support), F.normalize(text, dim=1)
    known, zero_shot = F.one_hot(labels).to(asked), (100 * asked @ names.T).softmax(1)
    count, pull = len(asked), 50 * 0.002 / len(shown)
    links = torch.zeros(count + len(shown), count, dtype=asked.dtype)
    for i, clip in enumerate([*asked, *shown]):
        near = sorted((j for j in range(count) if j != i), key=lambda j: -float(clip @ asked[j]))[:3]
        links[i, near] = asked[near] @ clip
    z = zero_shot
    mu, v = F.normalize(known.T @ shown, dim=1), torch.full_like(asked[0], 1 / asked.shape[1])
    for turn in range(11):
        if turn:
            mu = F.normalize(z.T @ asked / count + pull * known.T @ shown, dim=1)
            v = torch.zeros_like(v)
            for i, k in itertools.product(range(count), range(len(names))):
                v += z[i, k] / count * (asked[i] - mu[k]) ** 2
            for clip, k in zip(shown, labels, strict=True):
                v += pull * (clip - mu[k]) ** 2
            v = v / (1 + pull * len(shown))
        likelihood = torch.stack([-((asked - one) ** 2 / v).sum(1) / 2 for one in mu], 1)
        for _ in range(5):
            pulled = links.T @ torch.cat([z, known]) + links[:count] @ z
            z = zero_shot**0.5 * (likelihood / 50 + pulled / 6).exp()
            z = z / z.sum(1, keepdim=True)
    return z.log()
