"""Random episodes for the tests of heads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Episodes = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture
def draw() -> Callable[..., Episodes]:
    """draw(...) -> query (E, Q, T, D), support (E, N, T, D), shuffled labels (E, N), text (E, way, D); N = way * shot.

    Clips of a class share a direction, so that scores differ and a trained classifier has something to find.
    """

    def make(
        episodes: int = 3,
        query: int = 4,
        way: int = 3,
        shot: int = 2,
        frames: int = 4,
        channels: int = 16,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> Episodes:
        random = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=random, dtype=dtype)

        classes = normal(episodes, way, 1, channels)
        labels = torch.stack([torch.randperm(way * shot, generator=random) % way for _ in range(episodes)])
        rows = torch.arange(episodes)[:, None]
        support = classes[rows, labels] + 0.8 * normal(episodes, way * shot, frames, channels)
        asked = torch.randint(0, way, (episodes, query), generator=random)
        asked_clips = classes[rows, asked] + 0.8 * normal(episodes, query, frames, channels)
        return asked_clips, support, labels, classes[:, :, 0] + 0.5 * normal(episodes, way, channels)

    return make
