from __future__ import annotations

from typing import Any

import pytest

from kshot import tuning
from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from tuned import check, count_at_vit_b16, trained_state


def names(loaded: Backbone, *prefixes: str) -> set[str]:
    return {name for name, _ in loaded.named_parameters() if name.endswith("bias") and name.startswith(prefixes)}


@pytest.mark.parametrize(
    "options, cut, prefixes, count",
    [
        ({}, 0, ("image.",), 26),
        ({"blocks": 1}, 3, ("image.blocks.2.", "image.norm."), 9),
        ({"blocks": 2, "tower": "both"}, 2, ("image.blocks.1.", "image.blocks.2.", "image.norm.", "text."), 34),
        ({"tower": "text"}, 4, ("text.",), 17),
    ],
)
def test_bitfit(loaded: Backbone, options: dict[str, Any], cut: int, prefixes: tuple[str, ...], count: int) -> None:
    expected = names(loaded, *prefixes)
    assert len(expected) == count
    assert check(loaded, "bitfit", cut, expected, **options).image.exact


def test_counts_at_the_size_of_vit_b16() -> None:
    block = 4 * 768 + 3072 + 768 + 2 * 768  # attention, MLP, norms
    assert count_at_vit_b16("bitfit") == 12 * block + 2 * 768 == 102_912
    assert count_at_vit_b16("bitfit", blocks=1) == block + 768 == 9_216


@pytest.mark.parametrize(
    "options, message",
    [
        ({"blocks": 4}, "blocks '4': expected all, or how many last blocks, 1 to 3"),
        ({"tower": "video"}, "option 'tower': it should be 'image', 'text' or 'both', found 'video'"),
        ({"rank": 2}, "tuning 'bitfit' has no option 'rank'; its options: blocks='all', tower='image'"),
    ],
)
def test_options_that_do_not_exist_are_refused(loaded: Backbone, options: dict[str, Any], message: str) -> None:
    ours = loaded.copy()
    with pytest.raises(OptionError, match=message):
        tuning.apply("bitfit", ours, **options)
    assert not trained_state(ours)
