from __future__ import annotations

from typing import Any

import pytest
import torch

from kshot import tuning
from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from tuned import CLIPS, FRAMES, check, count_at_vit_b16, frames, trained_state, tuned

LAYERS = ("down", "activation.convolve", "up")


def names(*blocks: int, adapters: tuple[str, ...] = ("adapter",)) -> set[str]:
    layers = [f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")]
    return {f"image.blocks.{block}.{adapter}.{layer}" for block in blocks for adapter in adapters for layer in layers}


@pytest.mark.parametrize(
    "options, cut, expected",
    [
        ({"width": 8}, 1, names(0, 1, 2, adapters=("before_mlp",))),
        ({"width": 8, "place": "attention"}, 1, names(0, 1, 2)),
        ({"width": 8, "blocks": 1, "place": "attention"}, 3, names(2)),
        ({"width": 4, "blocks": 2, "place": "both"}, 2, names(1, 2, adapters=("adapter", "before_mlp"))),
        ({"width": 4, "blocks": 2, "time": 5, "space": 3}, 2, names(1, 2, adapters=("before_mlp",))),
    ],
)
def test_st_adapter(loaded: Backbone, options: dict[str, Any], cut: int, expected: set[str]) -> None:
    unread = names(2, adapters=("before_mlp",)) & expected  # patches behind the last attention, as in their code
    ours = check(loaded, "st-adapter", cut, expected, unread=unread, **options)
    assert not ours.image.exact

    x = frames()
    whole = ours.encode_from(x, 0, frames=FRAMES).view(CLIPS, FRAMES, -1)
    other = x.clone()
    other[:FRAMES] = x[:FRAMES].flip(0)  # the first clip backwards
    backwards = ours.encode_from(other, 0, frames=FRAMES).view(CLIPS, FRAMES, -1)
    torch.testing.assert_close(backwards[1:], whole[1:], rtol=1e-5, atol=1e-5)  # the other clips do not notice
    assert not torch.allclose(backwards[0].flip(0), whole[0], atol=1e-3)  # order tells
    for fewer in (1, 2):
        assert not torch.allclose(ours.encode_from(x, 0, frames=fewer).view_as(whole), whole, atol=1e-3)


def test_convolution_over_frames_by_hand(loaded: Backbone) -> None:
    ours, cut = tuned(loaded, "st-adapter", width=1, blocks=1, place="attention")
    block: Any = ours.image.blocks[-1]
    adapter = block.adapter
    with torch.no_grad():
        adapter.down.weight.copy_(torch.eye(1, 32))  # reads channel 0
        adapter.up.weight.copy_(torch.eye(32, 1))  # adds to channel 0
        adapter.activation.convolve.weight.copy_(torch.tensor([1.0, 10.0, 100.0]).view(1, 1, 3, 1, 1))
        for layer in (adapter.down, adapter.up, adapter.activation.convolve):
            layer.bias.zero_()
    x = torch.randn(6, 17, 32, generator=torch.Generator().manual_seed(0))
    expected = x.clone()
    for clip in (0, 3):
        a, b, c = x[clip : clip + 3, 1:, 0]
        expected[clip, 1:, 0] += 10 * a + 100 * b
        expected[clip + 1, 1:, 0] += a + 10 * b + 100 * c
        expected[clip + 2, 1:, 0] += b + 10 * c
    assert cut == 3
    torch.testing.assert_close(ours.encode_from(x, 3, frames=3), loaded.encode_from(expected, 3), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("place", ["mlp", "attention", "both"])
@torch.no_grad()
def test_each_place_as_a_plain_loop(loaded: Backbone, place: str) -> None:
    """Two blocks with every sum written out: an adapter on the patches before the attention, the MLP, or both."""
    ours, cut = tuned(loaded, "st-adapter", width=4, blocks=2, place=place)
    generator = torch.Generator().manual_seed(0)
    for value in ours.parameters():
        if value.requires_grad:
            value.copy_(0.3 * torch.randn(value.shape, generator=generator))
    x = torch.randn(2 * 3, 17, 32, generator=generator)
    y = x.clone()
    for number in (1, 2):
        mine: Any = ours.image.blocks[number]
        plain: Any = loaded.image.blocks[number]
        if place != "mlp":
            y = y + by_hand(mine.adapter, y)
        y = y + plain.self_attn(plain.layer_norm1(y), None)[0]
        if place != "attention":
            y = y + by_hand(mine.before_mlp, y)
        y = y + plain.mlp(plain.layer_norm2(y))
    expected = loaded.image.projection(loaded.image.norm(y[:, 0]))
    torch.testing.assert_close(ours.encode_from(x, cut, frames=3), expected, rtol=1e-4, atol=1e-5)


def by_hand(adapter: Any, y: torch.Tensor) -> torch.Tensor:
    """What an adapter adds to tokens of clips of three frames; nothing to the class token."""
    down = adapter.down(y)
    kernel, bias = adapter.activation.convolve.weight[:, 0, :, 0, 0], adapter.activation.convolve.bias
    mixed = torch.zeros_like(down)
    for row in range(len(y)):
        for step in (-1, 0, 1):
            if 0 <= row % 3 + step < 3:
                mixed[row] += kernel[:, step + 1] * down[row + step]
    added = adapter.up(mixed + bias)
    added[:, 0] = 0
    return added


def test_the_convolution_starts_at_zero_and_biases_too(loaded: Backbone) -> None:
    ours, _ = tuned(loaded, "st-adapter", width=4)
    zero = {name for name, value in trained_state(ours).items() if not value.any()}
    last = {"activation.convolve.weight", "activation.convolve.bias", "down.bias", "up.bias"}
    assert zero == {f"image.blocks.{block}.before_mlp.{name}" for block in range(3) for name in last}


def test_a_lone_adapter_that_nothing_reads_is_refused(loaded: Backbone) -> None:
    with pytest.raises(OptionError, match=r"place mlp with blocks '1': .* not read; take place attention or both, or"):
        tuning.apply("st-adapter", loaded.copy(), blocks=1)


def test_rows_that_are_no_whole_clips_are_refused(loaded: Backbone) -> None:
    ours, _ = tuned(loaded, "st-adapter", width=4)
    with pytest.raises(OptionError, match="16 rows are no whole clips of 3 frames"):
        ours.encode_from(frames(), 0, frames=3)
    with pytest.raises(OptionError, match="16 rows are no whole clips of 4 frames with 5 support clips"):
        ours.encode_from(frames(), 0, frames=4, support=5)


def test_counts_at_the_size_of_vit_b16() -> None:
    block = (768 * 384 + 384) + (384 * 3 + 384) + (384 * 768 + 768)
    assert count_at_vit_b16("st-adapter") == 12 * block == 7_110_144
    assert count_at_vit_b16("st-adapter", space=3) == 12 * (block + 24 * 384) == 7_220_736
    assert count_at_vit_b16("st-adapter", place="both") == 24 * block  # the authors' adapter24x384


@pytest.mark.parametrize(
    "options, message",
    [
        ({"width": 0}, "option 'width': it should be greater than or equal to 1, found 0"),
        ({"time": 2}, "time 2 and space 1: expected odd numbers"),
        ({"space": "x"}, "option 'space': it should be a valid integer"),
        ({"place": "head"}, "option 'place': it should be 'mlp', 'attention' or 'both'"),
        ({"blocks": 9}, "blocks '9': expected all, or how many last blocks, 1 to 3"),
        ({"frames": 8}, "tuning 'st-adapter' has no option 'frames'; its options: width=384, time=3, space=1"),
    ],
)
def test_options_that_do_not_exist_are_refused(loaded: Backbone, options: dict[str, Any], message: str) -> None:
    ours = loaded.copy()
    with pytest.raises(OptionError, match=message):
        tuning.apply("st-adapter", ours, **options)
    assert not trained_state(ours)
