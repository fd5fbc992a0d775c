"""Tables of pairs give the scores of the heads themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kshot.fewshot import scoring
from kshot.fewshot.episodes import Sampler
from kshot.fewshot.scoring import head_scorer, run_episodes
from kshot.heads import HEADS, get_head, pairs
from kshot.settings import EpisodeShape

PAIRED: list[tuple[str, dict[str, Any]]] = [
    ("prototype", {}),
    ("nearest", {}),
    ("where", {}),
    ("otam", {"shots": "features"}),
    ("otam", {"shots": "distances", "smooth": 0.1}),
    ("bimhm", {"shots": "features"}),
    ("bimhm", {"shots": "distances"}),
]


def stored(frames: int = 4) -> tuple[Tensor, np.ndarray]:
    """Clips, the first of which are zero, and their classes."""
    clips = torch.randn(30, frames, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    clips[:2] = 0
    return clips, np.repeat(np.arange(5), 6)


def test_no_head_with_a_table_is_forgotten() -> None:
    clips = torch.randn(2, 3, 8)
    with_table = set()
    for name in HEADS:
        head = get_head(name)
        if not head.learns and not head.needs_text and head.pairs(head.prepare(clips), 1) is not None:
            with_table.add(name)
    assert with_table == {name for name, _ in PAIRED}


@pytest.mark.parametrize("shot", [1, 3])
@pytest.mark.parametrize(("name", "chosen"), PAIRED, ids=str)
def test_they_give_the_scores_of_the_head(name: str, chosen: dict[str, Any], shot: int) -> None:
    clips, classes = stored()
    head = get_head(name, **chosen).double().eval()
    drawn = Sampler(classes, tuple("abcde"), way=3, shot=shot, query=2).draw(range(20))
    order = torch.randperm(3 * shot, generator=torch.Generator().manual_seed(1))
    support, query = torch.from_numpy(drawn.support)[:, order], torch.from_numpy(drawn.query)
    labels = torch.from_numpy(drawn.support_labels.copy())[:, order]
    prepared = head.prepare(clips)
    table = head.pairs(prepared, shot)
    assert table is not None
    found = head.score_pairs(table, query, support, labels, 3)
    torch.testing.assert_close(found, head(clips[query], clips[support], labels), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("block", [1, 3000, 1 << 22])
def test_each_pair_is_found_whatever_the_block(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(pairs, "BLOCK_BYTES", block)
    clips, _ = stored()

    def products(a: Tensor, b: Tensor) -> Tensor:
        return torch.einsum("itd,jsd->ijts", a, b)

    torch.testing.assert_close(pairs.every_pair(clips, products), products(clips, clips))
    flat = clips[:, 0]
    torch.testing.assert_close(pairs.every_pair(flat, lambda a, b: a @ b.mT), flat @ flat.mT)


@pytest.mark.parametrize(("name", "chosen"), PAIRED, ids=str)
def test_episodes_are_answered_alike_with_and_without(
    monkeypatch: pytest.MonkeyPatch, name: str, chosen: dict[str, Any]
) -> None:
    clips, classes = stored()
    head, sampler = get_head(name, **chosen).double().eval(), Sampler(classes, tuple("abcde"), way=3, shot=2, query=2)
    shape = EpisodeShape(way=3, shot=2, query=2)
    made: list[int] = []
    inside = scoring._pair_scorer
    monkeypatch.setattr(scoring, "_pair_scorer", lambda *given: made.append(1) or inside(*given))
    by_table, chunk = head_scorer(head, clips, classes, None, shape, 60)
    assert made, "60 episodes ask for 2,160 pairs; there are 450"
    plain, other = head_scorer(head, clips, classes, None, shape, 10)
    assert len(made) == 1, "10 episodes ask for 360"
    right, answers = run_episodes(by_table, sampler, 60, chunk)
    expected, expected_answers = run_episodes(plain, sampler, 60, other)
    assert (right == expected).all()
    assert (answers == expected_answers).all()


def test_a_table_too_large_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    clips, _ = stored()
    shape = EpisodeShape(way=3, shot=2, query=2)
    head = get_head("otam", shots="features").double()
    monkeypatch.setattr(scoring, "TABLE_BYTES", 30 * 30 * 4 * 4 * 8)
    assert scoring._pairs(head, clips, shape, 1000) is not None
    monkeypatch.setattr(scoring, "TABLE_BYTES", 30 * 30 * 4 * 4 * 8 - 1)
    assert scoring._pairs(head, clips, shape, 1000) is None


def test_a_table_of_half_precision_is_made_in_single() -> None:
    clips, _ = stored()
    shape = EpisodeShape(way=3, shot=2, query=2)
    table = scoring._pairs(get_head("bimhm", shots="features"), clips.half(), shape, 1000)
    assert table is not None and table.dtype == torch.float32
    wanted = get_head("bimhm", shots="features").pairs(clips.half().float(), 2)
    torch.testing.assert_close(table, wanted)
