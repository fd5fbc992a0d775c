from __future__ import annotations

from typing import Any

import pytest

from kshot import tuning
from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from tuned import check, count_at_vit_b16, trained_state


def norms(tower: str, *blocks: int, others: tuple[str, ...] = ("norm",)) -> set[str]:
    places = [*others, *(f"blocks.{block}.layer_norm{i}" for block in blocks for i in (1, 2))]
    return {f"{tower}.{place}.{kind}" for place in places for kind in ("weight", "bias")}


@pytest.mark.parametrize(
    "options, cut, expected",
    [
        ({}, 0, norms("image", 0, 1, 2, others=("pre", "norm"))),
        ({"blocks": 1}, 3, norms("image", 2)),
        ({"blocks": 3}, 1, norms("image", 0, 1, 2)),
        ({"blocks": "1", "tower": "both"}, 3, norms("image", 2) | norms("text", 1)),
        ({"tower": "text"}, 4, norms("text", 0, 1)),
    ],
)
def test_layernorm(loaded: Backbone, options: dict[str, Any], cut: int, expected: set[str]) -> None:
    assert check(loaded, "layernorm", cut, expected, **options).image.exact


def test_counts_at_the_size_of_vit_b16() -> None:
    assert count_at_vit_b16("layernorm") == (2 * 12 + 2) * 2 * 768 == 39_936
    assert count_at_vit_b16("layernorm", blocks=1) == 3 * 2 * 768


@pytest.mark.parametrize(
    "options, message",
    [
        ({"blocks": "some"}, "blocks 'some': expected all, or how many last blocks, 1 to 3"),
        ({"tower": "video"}, "option 'tower': it should be 'image', 'text' or 'both', found 'video'"),
        ({"layers": 2}, "tuning 'layernorm' has no option 'layers'; its options: blocks='all', tower='image'"),
    ],
)
def test_options_that_do_not_exist_are_refused(loaded: Backbone, options: dict[str, Any], message: str) -> None:
    ours = loaded.copy()
    with pytest.raises(OptionError, match=message):
        tuning.apply("layernorm", ours, **options)
    assert not trained_state(ours)
