from __future__ import annotations

from typing import Any

import pytest
import torch

from kshot import tuning
from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from tuned import NAMES, check, count_at_vit_b16, frames, trained_state, tuned


def names(*towers: str) -> set[str]:
    return {f"{tower}.feature.adapter.{layer}.weight" for tower in towers for layer in ("down", "up")}


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, names("image")),
        ({"ratio": 0.6, "reduction": 2}, names("image")),
        ({"tower": "text"}, names("text")),
        ({"tower": "both"}, names("image", "text")),
    ],
)
def test_clip_adapter(loaded: Backbone, options: dict[str, Any], expected: set[str]) -> None:
    ours, _ = tuned(loaded, "clip-adapter", **options)
    share = options.get("ratio", 0.2) if options.get("tower") != "text" else 0.0
    torch.testing.assert_close(ours(frames()), (1 - share) * loaded(frames()), rtol=1e-6, atol=1e-6)  # same directions
    torch.testing.assert_close(ours.embed_text(NAMES), loaded.embed_text(NAMES), rtol=1e-5, atol=1e-6)

    assert check(loaded, "clip-adapter", 4, expected, same=False, **options).image.exact


def test_blend_by_hand(loaded: Backbone) -> None:
    ours, cut = tuned(loaded, "clip-adapter", reduction=16, ratio=0.25)
    assert cut == 4
    adapter: Any = ours.image.feature.adapter
    with torch.no_grad():
        adapter.down.weight.copy_(torch.eye(1, 16))
        adapter.up.weight.copy_(2 * torch.eye(16, 1))
    x = torch.zeros(2, 16)
    x[0, 0], x[1, 0], x[1, 3] = 4.0, -4.0, 1.0
    out = ours.encode_from(x, 4)
    assert out[0].tolist() == [0.75 * 4 + 0.25 * 8, *[0.0] * 15]
    assert out[1].tolist() == [0.75 * -4, 0, 0, 0.75, *[0.0] * 12]
    assert torch.equal(ours.encode_to(frames(), 4), loaded.encode_to(frames(), 4))  # what is stored is never adapted


def test_count_at_the_size_of_vit_b16() -> None:
    assert count_at_vit_b16("clip-adapter") == 2 * 512 * 128
    assert count_at_vit_b16("clip-adapter", tower="both") == 4 * 512 * 128


@pytest.mark.parametrize(
    "options, message",
    [
        ({"reduction": 0}, "option 'reduction': it should be greater than or equal to 1, found 0"),
        ({"reduction": 17}, "reduction '17': an embedding of 16 channels allows no more"),
        ({"ratio": 1.0}, "option 'ratio': it should be less than 1, found 1.0"),
        ({"ratio": "x"}, "option 'ratio': it should be a valid number"),
        ({"tower": "video"}, "option 'tower': it should be 'image', 'text' or 'both', found 'video'"),
        ({"blocks": 2}, "tuning 'clip-adapter' has no option 'blocks'; its options: reduction=4, ratio=0.2"),
    ],
)
def test_options_that_do_not_exist_are_refused(loaded: Backbone, options: dict[str, Any], message: str) -> None:
    ours = loaded.copy()
    with pytest.raises(OptionError, match=message):
        tuning.apply("clip-adapter", ours, **options)
    assert not trained_state(ours)
