from __future__ import annotations

from typing import Any

import pytest
import torch

from kshot import tuning
from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from kshot.tuning.aim import PARTS
from tuned import CLIPS, FRAMES, check, count_at_vit_b16, frames, trained_state, tuned


def names(*blocks: int, parts: tuple[str, ...] = PARTS, at: str = "") -> set[str]:
    layers = [f"{layer}.{kind}" for layer in ("down", "up") for kind in ("weight", "bias")]
    when = {at or f"image.blocks.{blocks[0]}.when"} if "temporal" in parts else set()
    return when | {f"image.blocks.{b}.{part}.{layer}" for b in blocks for part in parts for layer in layers}


@pytest.mark.parametrize(
    "options, cut, expected",
    [
        ({}, 0, names(0, 1, 2, at="image.embeddings.when")),
        ({"time": "block"}, 1, names(0, 1, 2)),
        ({"parts": "spatial"}, 1, names(0, 1, 2, parts=("spatial",))),
        ({"blocks": 1}, 3, names(2)),
        ({"blocks": 2, "parts": "temporal"}, 2, names(1, 2, parts=("temporal",))),
        ({"blocks": 1, "parts": ["spatial", "joint"], "reduction": 8}, 3, names(2, parts=("spatial", "joint"))),
    ],
)
def test_aim(loaded: Backbone, options: dict[str, Any], cut: int, expected: set[str]) -> None:
    ours = check(loaded, "aim", cut, expected, frames=FRAMES, **options)
    assert not ours.image.exact

    x = frames()
    whole = ours.encode_from(x, 0, frames=FRAMES).view(CLIPS, FRAMES, -1)
    other = x.clone()
    other[:FRAMES] = x[:FRAMES].flip(0)  # the first clip backwards
    backwards = ours.encode_from(other, 0, frames=FRAMES).view(CLIPS, FRAMES, -1)
    torch.testing.assert_close(backwards[1:], whole[1:], rtol=1e-5, atol=1e-5)  # the other clips do not notice
    order_tells = not torch.allclose(backwards[0].flip(0), whole[0], atol=1e-3)
    assert order_tells == any("temporal" in name for name in expected)


def test_each_part_as_a_plain_loop(loaded: Backbone) -> None:
    ours, cut = tuned(loaded, "aim", frames=2, blocks=1, scale=0.25)
    ours.requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    block: Any = ours.image.blocks[-1]
    for part in PARTS:
        torch.nn.init.normal_(getattr(block, part).up.weight, generator=generator)
    torch.nn.init.normal_(block.when, generator=generator)

    plain: Any = loaded.image.blocks[-1]
    x = torch.randn(4, 17, 32, generator=generator)
    y = x + torch.stack([block.when[0], block.when[1]] * 2)
    across = torch.zeros_like(y)
    for clip in range(2):
        for place in range(17):
            two = plain.layer_norm1(y[2 * clip : 2 * clip + 2, place])
            across[2 * clip : 2 * clip + 2, place] = plain.self_attn(two[None], None)[0][0]
    y = y + block.temporal(across)
    seen = plain.self_attn(plain.layer_norm1(y), None)[0]
    y = y + seen + block.spatial(seen)
    n = plain.layer_norm2(y)
    y = y + plain.mlp(n) + 0.25 * block.joint(n)
    expected = loaded.image.projection(loaded.image.norm(y[:, 0]))
    torch.testing.assert_close(ours.encode_from(x, cut, frames=2), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_frames_are_numbered_before_the_first_norm(loaded: Backbone) -> None:
    """As in the authors' code: embeddings of patches and places, the frame's vector, then the norm, then the blocks."""
    ours, cut = tuned(loaded, "aim", frames=2)
    embeddings: Any = ours.image.embeddings
    torch.nn.init.normal_(embeddings.when, generator=torch.Generator().manual_seed(0))
    x = frames()[:4]
    tokens = loaded.image.embeddings(x)
    for row in range(4):
        tokens[row] += embeddings.when[row % 2, 0]
    pre: Any = loaded.image.pre
    expected = loaded.encode_from(pre(tokens), 1)
    assert cut == 0
    torch.testing.assert_close(ours.encode_from(x, 0, frames=2), expected, rtol=1e-4, atol=1e-5)


def test_first_weights_are_those_of_the_authors_code(loaded: Backbone) -> None:
    """Down: a normal of deviation 0.02, cut off at 2 (which is far outside); every bias and everything else zero."""
    ours, _ = tuned(loaded, "aim", reduction=1)
    for name, value in trained_state(ours).items():
        if name.endswith("down.weight"):
            assert 0.017 < float(value.std()) < 0.023
        else:
            assert not value.any(), name


def test_another_number_of_frames_is_refused(loaded: Backbone) -> None:
    ours, _ = tuned(loaded, "aim", frames=8)
    with pytest.raises(OptionError, match="AIM was set up for clips of 8 frames, found 4: give both the same frames"):
        ours.encode_from(frames(), 0, frames=4)
    ours, _ = tuned(loaded, "aim", parts="spatial,joint")
    torch.testing.assert_close(ours.encode_from(frames(), 0, frames=4), loaded(frames()), rtol=1e-4, atol=1e-5)


def test_counts_at_the_size_of_vit_b16() -> None:
    # About 11 million in the paper's table 1, with its classifier.
    adapter = 768 * 192 + 192 + 192 * 768 + 768
    assert count_at_vit_b16("aim") == 12 * 3 * adapter + 8 * 768 == 10_657_536
    assert count_at_vit_b16("aim", parts="spatial", blocks=1) == adapter


@pytest.mark.parametrize(
    "options, message",
    [
        ({"parts": "space"}, "unknown part 'space'"),
        ({"parts": ""}, "unknown part ''"),
        ({"reduction": 64}, "reduction '64': a tower of 32 channels allows no more"),
        ({"time": "norm"}, "option 'time': it should be 'input' or 'block'"),
        ({"frames": 0}, "option 'frames': it should be greater than or equal to 1, found 0"),
        ({"scale": "x"}, "option 'scale': it should be a valid number"),
        ({"blocks": 0}, "blocks '0': expected all"),
        ({"tower": "text"}, "tuning 'aim' has no option 'tower'; its options: parts='spatial,temporal,joint'"),
    ],
)
def test_options_that_do_not_exist_are_refused(loaded: Backbone, options: dict[str, Any], message: str) -> None:
    ours = loaded.copy()
    with pytest.raises(OptionError, match=message):
        tuning.apply("aim", ours, **options)
    assert not trained_state(ours)
