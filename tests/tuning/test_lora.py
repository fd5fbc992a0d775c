from __future__ import annotations

from typing import Any

import pytest
import torch

from kshot import tuning
from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from tuned import check, count_at_vit_b16, frames, trained_state, tuned

ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "out_proj"), ("fc1", "fc2")


def names(tower: str, blocks: list[int], targets: tuple[str, ...]) -> set[str]:
    places = [f"{'self_attn' if target in ATTENTION else 'mlp'}.{target}" for target in targets]
    return {f"{tower}.blocks.{b}.{p}.lora_{part}.default.weight" for b in blocks for p in places for part in "AB"}


@pytest.mark.parametrize(
    "options, cut, expected",
    [
        ({}, 1, names("image", [0, 1, 2], ("q_proj", "v_proj"))),
        ({"blocks": 1, "rank": 2}, 3, names("image", [2], ("q_proj", "v_proj"))),
        ({"blocks": "2", "targets": ["k_proj", "out_proj"]}, 2, names("image", [1, 2], ("k_proj", "out_proj"))),
        ({"blocks": 1, "targets": "fc1, fc2"}, 3, names("image", [2], MLP)),
        ({"tower": "text", "targets": "fc1"}, 4, names("text", [0, 1], ("fc1",))),
        ({"tower": "both", "blocks": 1, "targets": "q_proj,fc2"}, 3,
         names("image", [2], ("q_proj", "fc2")) | names("text", [1], ("q_proj", "fc2"))),
    ],
)  # fmt: skip
def test_lora(loaded: Backbone, options: dict[str, Any], cut: int, expected: set[str]) -> None:
    assert check(loaded, "lora", cut, expected, **options).image.exact


def test_the_difference_is_alpha_by_rank_times_b_a(loaded: Backbone) -> None:
    ours, _ = tuned(loaded, "lora", rank=2, alpha=6.0, blocks=1, targets="v_proj")
    layer: Any = ours.image.blocks[-1].self_attn.v_proj  # type: ignore[union-attr]
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert (a.shape, b.shape) == ((2, 32), (32, 2))
    with torch.no_grad():
        b.normal_(generator=torch.Generator().manual_seed(1))
        plain = loaded.copy()
        weight = plain.image.blocks[-1].self_attn.v_proj.weight  # type: ignore[union-attr]
        weight.data = weight + 3 * b @ a
        torch.testing.assert_close(ours(frames()), plain(frames()), rtol=1e-4, atol=1e-5)


def test_the_exact_last_block_has_the_gradients_of_the_whole_one(loaded: Backbone) -> None:
    ours, cut = tuned(loaded, "lora", blocks=1, targets=[*ATTENTION, *MLP])
    generator = torch.Generator().manual_seed(0)
    for name, value in ours.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, generator=generator)
    x = torch.randn(6, 17, 32, generator=generator)
    outputs, gradients = [], []
    for whole in (False, True):
        if whole:  # a hook makes the block run whole
            ours.image.blocks[-1].register_forward_hook(lambda *_: None)
        assert ours.image.exact != whole
        ours.zero_grad()
        outputs.append(ours.encode_from(x, cut))
        outputs[-1].square().sum().backward()
        gradients.append({name: value.grad for name, value in ours.named_parameters() if value.requires_grad})
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-5)
    for name, value in gradients[0].items():
        other = gradients[1][name]
        assert float((value - other).norm()) <= 1e-4 * float(other.norm()), name


def test_layers_that_do_more_than_lora_run_whole(loaded: Backbone) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    for extra in ({"lora_dropout": 0.5}, {"use_dora": True}, {"lora_bias": True}):
        ours = loaded.copy()
        inject_adapter_in_model(LoraConfig(r=2, target_modules=["v_proj"], **extra), ours.image.blocks[-1])
        assert not ours.image.exact
    ours, _ = tuned(loaded, "lora", blocks=1)
    layer: Any = ours.image.blocks[-1].self_attn.v_proj  # type: ignore[union-attr]
    layer.enable_adapters(False)
    assert not ours.image.exact


def test_counts_at_the_size_of_vit_b16() -> None:
    # 184 thousand in CLIP-LoRA (Zanella and Ben Ayed, CVPR workshops 2024): rank 2, q k v, both towers.
    assert count_at_vit_b16("lora", rank=2, targets="q_proj,k_proj,v_proj", tower="both") == 184_320
    assert count_at_vit_b16("lora") == 2 * 12 * 8 * (768 + 768)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"rank": 0}, "option 'rank': it should be greater than or equal to 1, found 0"),
        ({"rank": "two"}, "option 'rank': it should be a valid integer"),
        ({"alpha": "much"}, "option 'alpha': it should be a valid number"),
        ({"alpha": float("nan")}, "option 'alpha': expected a finite number"),
        ({"targets": "q"}, "unknown target 'q': did you mean 'q_proj'|unknown target 'q': Known: q_proj"),
        ({"targets": []}, "unknown target ''"),
        ({"blocks": 4}, "blocks '4': expected all, or how many last blocks, 1 to 3"),
        ({"blocks": 3, "tower": "both"}, "blocks '3': expected all, or how many last blocks, 1 to 2"),
        ({"tower": "video"}, "option 'tower': it should be 'image', 'text' or 'both', found 'video'"),
        ({"width": 3}, "tuning 'lora' has no option 'width'; its options: rank=8, alpha=16.0, targets="),
    ],
)
def test_options_that_do_not_exist_are_refused(loaded: Backbone, options: dict[str, Any], message: str) -> None:
    ours = loaded.copy()
    with pytest.raises(OptionError, match=message):
        tuning.apply("lora", ours, **options)
    assert not trained_state(ours)
