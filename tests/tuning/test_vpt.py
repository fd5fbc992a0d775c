from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from kshot import tuning
from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from tuned import check, count_at_vit_b16, frames, trained_state, tuned


@pytest.mark.parametrize(
    "options, cut, blocks, exact",
    [
        ({}, 1, (0, 1, 2), False),
        ({"blocks": 2, "tokens": 3}, 2, (1, 2), False),
        ({"blocks": 1}, 3, (2,), False),
        ({"deep": False}, 1, (0,), True),
        ({"deep": False, "blocks": 2}, 2, (1,), True),
        ({"deep": False, "blocks": 1}, 3, (2,), False),
    ],
)
def test_vpt(loaded: Backbone, options: dict[str, Any], cut: int, blocks: tuple[int, ...], exact: bool) -> None:
    names = {f"image.blocks.{block}.prompts" for block in blocks}
    assert check(loaded, "vpt", cut, names, same=False, **options).image.exact == exact


def test_prompts_are_drawn_as_the_patch_embedding_would_be(loaded: Backbone) -> None:
    ours, _ = tuned(loaded, "vpt", tokens=500, blocks=1)
    prompts = trained_state(ours)["image.blocks.2.prompts"]
    assert prompts.shape == (500, 32)
    bound = math.sqrt(6 / (3 * 8 * 8 + 32))
    assert 0.99 * bound < float(prompts.abs().max()) <= bound
    assert float(prompts.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize("deep", [True, False])
def test_blocks_see_the_prompts_as_the_paper_says(loaded: Backbone, deep: bool) -> None:
    ours, _ = tuned(loaded, "vpt", tokens=2, deep=deep)
    tokens = loaded.encode_to(frames(), 1)
    for number, block in enumerate(loaded.image.blocks):  # a plain loop: insert, run, and (deep) drop what came out
        if deep or number == 0:
            patches = tokens[:, 1:] if number == 0 else tokens[:, 3:]
            own = trained_state(ours)[f"image.blocks.{number}.prompts"].expand(len(tokens), -1, -1)
            tokens = torch.cat([tokens[:, :1], own, patches], 1)
        tokens = block(tokens, None)
    expected = loaded.image.projection(loaded.image.norm(tokens[:, 0]))
    torch.testing.assert_close(ours(frames()), expected, rtol=1e-4, atol=1e-5)


def test_counts_at_the_size_of_vit_b16() -> None:
    assert count_at_vit_b16("vpt") == 12 * 10 * 768
    assert count_at_vit_b16("vpt", deep=False, tokens=50) == 50 * 768


@pytest.mark.parametrize(
    "options, message",
    [
        ({"tokens": 0}, "option 'tokens': it should be greater than or equal to 1, found 0"),
        ({"deep": "no"}, "option 'deep': it should be a valid boolean"),
        ({"blocks": 4}, "blocks '4': expected all"),
        ({"tower": "text"}, "tuning 'vpt' has no option 'tower'; its options: tokens=10, deep=True, blocks='all'"),
    ],
)
def test_options_that_do_not_exist_are_refused(loaded: Backbone, options: dict[str, Any], message: str) -> None:
    ours = loaded.copy()
    with pytest.raises(OptionError, match=message):
        tuning.apply("vpt", ours, **options)
    assert not trained_state(ours)
