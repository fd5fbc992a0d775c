from __future__ import annotations

from typing import Any

import pytest
import torch

from kshot import tuning
from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from kshot.tuning.adapters import Beside, Bottleneck
from tuned import check, count_at_vit_b16, trained_state, tuned


def names(tower: str, *blocks: int) -> set[str]:
    layers = [f"{layer}.{kind}" for layer in ("down", "up") for kind in ("weight", "bias")]
    return {f"{tower}.blocks.{block}.mlp.adapter.{layer}" for block in blocks for layer in layers}


@pytest.mark.parametrize(
    "options, cut, expected",
    [
        ({}, 1, names("image", 0, 1, 2)),
        ({"blocks": 1, "width": 4}, 3, names("image", 2)),
        ({"norm": True}, 1, names("image", 0, 1, 2)),
        ({"blocks": 2, "scale": 1.0}, 2, names("image", 1, 2)),
        ({"tower": "both", "blocks": 1}, 3, names("image", 2) | names("text", 1)),
    ],
)
def test_adaptformer(loaded: Backbone, options: dict[str, Any], cut: int, expected: set[str]) -> None:
    assert check(loaded, "adaptformer", cut, expected, **options).image.exact


def test_sum_of_mlp_and_scaled_bottleneck_by_hand() -> None:
    adapter = Bottleneck(2, 1, torch.nn.ReLU())
    with torch.no_grad():
        adapter.down.weight.copy_(torch.tensor([[1.0, -1.0]]))
        adapter.down.bias.fill_(1.0)
        adapter.up.weight.copy_(torch.tensor([[2.0], [3.0]]))
        adapter.up.bias.fill_(0.5)
    mlp = torch.nn.Linear(2, 2)
    x = torch.tensor([[4.0, 2.0], [0.0, 5.0]])  # bottleneck: relu(3) and relu(-4)
    expected = mlp(x) + 0.1 * torch.tensor([[6.5, 9.5], [0.5, 0.5]])
    torch.testing.assert_close(Beside(mlp, adapter, 0.1)(x), expected)


@pytest.mark.parametrize("norm", [False, True])
@torch.no_grad()
def test_what_the_bottleneck_reads(loaded: Backbone, norm: bool) -> None:
    """The authors' code feeds it the raw tokens that enter LN2, the paper's formula those that leave it."""
    ours, cut = tuned(loaded, "adaptformer", blocks=1, width=4, norm=norm)
    adapter: Any = ours.image.blocks[-1].mlp.adapter  # type: ignore[union-attr]
    torch.nn.init.normal_(adapter.up.weight, generator=torch.Generator().manual_seed(0))
    plain: Any = loaded.image.blocks[-1]
    x = torch.randn(6, 17, 32, generator=torch.Generator().manual_seed(1))
    y = x + plain.self_attn(plain.layer_norm1(x), None)[0]
    n = plain.layer_norm2(y)
    seen = n if norm else y
    added = torch.relu(seen @ adapter.down.weight.T + adapter.down.bias) @ adapter.up.weight.T + adapter.up.bias
    y = y + plain.mlp(n) + 0.1 * added
    expected = loaded.image.projection(loaded.image.norm(y[:, 0]))
    torch.testing.assert_close(ours.encode_from(x, cut), expected, rtol=1e-4, atol=1e-5)


def test_the_exact_last_block_has_the_gradients_of_the_whole_one(loaded: Backbone) -> None:
    ours, cut = tuned(loaded, "adaptformer", blocks=1)
    adapter: Any = ours.image.blocks[-1].mlp.adapter  # type: ignore[union-attr]
    torch.nn.init.normal_(adapter.up.weight, generator=torch.Generator().manual_seed(0))
    x = torch.randn(6, 17, 32, generator=torch.Generator().manual_seed(1))
    gradients = []
    for whole in (False, True):
        if whole:  # a hook makes the block run whole
            ours.image.blocks[-1].register_forward_hook(lambda *_: None)
        assert ours.image.exact != whole
        ours.zero_grad()
        ours.encode_from(x, cut).square().sum().backward()
        gradients.append({name: value.grad for name, value in ours.named_parameters() if value.requires_grad})
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)


def test_count_at_the_size_of_vit_b16() -> None:
    count = count_at_vit_b16("adaptformer")
    assert count == 1_189_632
    assert 1.26e6 <= count + (768 + 1) * 100 < 1.27e6  # the paper's 1.26 million has a classifier of 100 classes in it


@pytest.mark.parametrize(
    "options, message",
    [
        ({"width": 0}, "option 'width': it should be greater than or equal to 1, found 0"),
        ({"norm": "in"}, "option 'norm': it should be a valid boolean"),
        ({"scale": "x"}, "option 'scale': it should be a valid number"),
        ({"blocks": 0}, "blocks '0': expected all"),
        ({"blocks": True}, "option 'blocks': it should be a valid string or"),
        ({"tower": "none"}, "option 'tower': it should be 'image', 'text' or 'both', found 'none'"),
        ({"rank": 2}, "tuning 'adaptformer' has no option 'rank'; its options: width=64, scale=0.1"),
    ],
)
def test_options_that_do_not_exist_are_refused(loaded: Backbone, options: dict[str, Any], message: str) -> None:
    ours = loaded.copy()
    with pytest.raises(OptionError, match=message):
        tuning.apply("adaptformer", ours, **options)
    assert not trained_state(ours)
