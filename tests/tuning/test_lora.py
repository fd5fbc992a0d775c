from __future__ import annotations

from typing import Any

import pytest
import torch

from kshot import tuning
from kshot.backbone import Backbone
from kshot.errors import OptionError
from tuned import check, count_at_vit_b16, frames, tuned

ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "out_proj"), ("fc1", "fc2")


def names(tower: str, blocks: list[int], targets: tuple[str, ...]) -> set[str]:
    places = [f"{'self_attn' if target in ATTENTION else 'mlp'}.{target}" for target in targets]
    return {f"{tower}.blocks.{b}.{p}.lora_{part}.default.weight" for b in blocks for p in places for part in "AB"}


@pytest.mark.parametrize(
    "options, cut, expected, exact",
    [
        ({}, 1, names("image", [0, 1, 2], ("q_proj", "v_proj")), False),
        ({"blocks": 1, "rank": 2}, 3, names("image", [2], ("q_proj", "v_proj")), False),
        ({"blocks": "2", "targets": ["k_proj", "out_proj"]}, 2, names("image", [1, 2], ("k_proj", "out_proj")), False),
        ({"blocks": 1, "targets": "fc1, fc2"}, 3, names("image", [2], MLP), True),
        ({"tower": "text", "targets": "fc1"}, 4, names("text", [0, 1], ("fc1",)), True),
        ({"tower": "both", "blocks": 1, "targets": "q_proj,fc2"}, 3,
         names("image", [2], ("q_proj", "fc2")) | names("text", [1], ("q_proj", "fc2")), False),
    ],
)  # fmt: skip
def test_lora(loaded: Backbone, options: dict[str, Any], cut: int, expected: set[str], exact: bool) -> None:
    assert check(loaded, "lora", cut, expected, **options).image.exact == exact


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


def test_counts_at_the_size_of_vit_b16() -> None:
    # 184 thousand in CLIP-LoRA (Zanella and Ben Ayed, CVPR workshops 2024): rank 2, q k v, both towers.
    assert count_at_vit_b16("lora", rank=2, targets="q_proj,k_proj,v_proj", tower="both") == 184_320
    assert count_at_vit_b16("lora") == 2 * 12 * 8 * (768 + 768)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"rank": 0}, "rank '0': expected a whole number, 1 or more"),
        ({"rank": "two"}, "rank 'two': expected"),
        ({"alpha": "much"}, "alpha 'much': expected a number"),
        ({"alpha": float("nan")}, "alpha 'nan': expected a number"),
        ({"targets": "q"}, "unknown target 'q': did you mean 'q_proj'|unknown target 'q': Known: q_proj"),
        ({"targets": []}, "unknown target ''"),
        ({"blocks": 4}, "blocks '4': expected all, or how many last blocks, 1 to 3"),
        ({"blocks": 3, "tower": "both"}, "blocks '3': expected all, or how many last blocks, 1 to 2"),
        ({"tower": "video"}, "unknown tower 'video'"),
        ({"width": 3}, "tuning 'lora' has no option 'width'; its options: rank=8, alpha=16.0, targets="),
    ],
)
def test_options_that_do_not_exist_are_refused(loaded: Backbone, options: dict[str, Any], message: str) -> None:
    ours = loaded.copy()
    with pytest.raises(OptionError, match=message):
        tuning.apply("lora", ours, **options)
    assert not tuning.trained_state(ours)
