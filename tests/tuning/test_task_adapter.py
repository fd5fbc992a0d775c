from __future__ import annotations

from typing import Any

import pytest
import torch

from kshot import heads, tuning
from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from kshot.fewshot.learner import Learner
from tuned import CLIPS, FRAMES, check, count_at_vit_b16, frames, train, trained_state, tuned


def names(*blocks: int) -> set[str]:
    layers = [f"{layer}.{kind}" for layer in ("down", "up") for kind in ("weight", "bias")]
    return {f"image.blocks.{block}.adapter.{layer}" for block in blocks for layer in layers}


@pytest.mark.parametrize(
    "options, cut, expected",
    [
        ({}, 2, names(1, 2)),
        ({"blocks": 1, "reduction": 8}, 3, names(2)),
        ({"blocks": 1, "place": "attention", "transductive": "queries"}, 3, names(2)),
        ({"blocks": "all", "transductive": True}, 1, names(0, 1, 2)),
    ],
)
def test_task_adapter(loaded: Backbone, options: dict[str, Any], cut: int, expected: set[str]) -> None:
    ours = check(loaded, "task-adapter", cut, expected, **options)
    assert not ours.image.exact
    assert ours.episodic
    assert not loaded.episodic


def episode(ours: Backbone, x: torch.Tensor, support: int = 2) -> torch.Tensor:
    return ours.encode_from(x, 0, frames=FRAMES, support=support).view(CLIPS, FRAMES, -1)


@pytest.mark.parametrize("place", ["mlp", "attention"])
@pytest.mark.parametrize("transductive", [False, True])
def test_who_sees_whom(loaded: Backbone, transductive: bool, place: str) -> None:
    ours, cut = tuned(loaded, "task-adapter", transductive=transductive, place=place)
    train(ours, cut)
    x = frames()
    whole = episode(ours, x)  # support clips 0 and 1, queries 2 and 3

    def noticed(changed: int, support: int = 2) -> list[bool]:
        other = x.clone()
        other[changed * FRAMES : (changed + 1) * FRAMES] = frames(seed=1)[:FRAMES]
        before = episode(ours, x, support)
        return [not torch.allclose(a, b, atol=1e-5) for a, b in zip(before, episode(ours, other, support), strict=True)]

    assert noticed(0) == [True] * 4  # everyone sees the support
    assert noticed(3) == [False, False, transductive, True]  # support never sees a query
    assert noticed(0, support=0) == [True, False, False, False]  # outside of an episode each stands alone
    backwards = torch.cat([x[FRAMES : 2 * FRAMES], x[:FRAMES], x[2 * FRAMES :]])
    torch.testing.assert_close(episode(ours, backwards)[2:], whole[2:], rtol=1e-4, atol=1e-5)  # order of the support


@pytest.mark.parametrize("transductive", [False, "queries"])
@pytest.mark.parametrize("place", ["mlp", "attention"])
def test_attention_across_clips_as_a_plain_loop(loaded: Backbone, place: str, transductive: bool | str) -> None:
    ours, cut = tuned(loaded, "task-adapter", blocks=1, place=place, transductive=transductive)
    ours.requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    adapter: Any = ours.image.blocks[-1].adapter
    torch.nn.init.normal_(adapter.up.weight, generator=generator)
    plain: Any = loaded.image.blocks[-1]
    x = torch.randn(4 * 2, 17, 32, generator=generator)  # clips of 2 frames: 2 of support, 2 queries
    y = x + plain.self_attn(plain.layer_norm1(x), None)[0] if place == "mlp" else x
    seen = torch.zeros_like(x)
    for clip, visible in enumerate([(0, 1), (0, 1), *(((2, 3), (2, 3)) if transductive else ((2, 0, 1), (3, 0, 1)))]):
        for frame in range(2):
            for at in range(17):
                tokens = torch.stack([y[2 * other + frame, at] for other in visible])
                out = plain.self_attn(plain.layer_norm1(tokens)[None], None)[0][0]
                seen[2 * clip + frame, at] = out[visible.index(clip)]
    y = y + adapter(seen)
    if place == "attention":
        y = y + plain.self_attn(plain.layer_norm1(y), None)[0]
    y = y + plain.mlp(plain.layer_norm2(y))
    expected = loaded.image.projection(loaded.image.norm(y[:, 0]))
    torch.testing.assert_close(ours.encode_from(x, cut, frames=2, support=2), expected, rtol=1e-4, atol=1e-4)


def test_queries_of_a_learner_look_at_the_support(loaded: Backbone) -> None:
    ours, cut = tuned(loaded, "task-adapter", blocks=1)
    train(ours, cut)
    learner = Learner(ours, cut, heads.get_head("prototype"))
    with torch.no_grad():
        stored = ours.encode_to(frames(), cut).view(CLIPS, FRAMES, 17, 32).numpy()
        together = learner.embed(stored, support=2)
        torch.testing.assert_close(learner.embed_query(stored[2:], stored[:2]), together[2:], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(learner.embed_query(stored[3:], stored[:2]), together[3:], rtol=1e-5, atol=1e-6)
        assert not torch.allclose(learner.embed(stored[2:]), together[2:], atol=1e-4)
        frozen = Learner.build(loaded, "partial")
        tokens = loaded.encode_to(frames(), 3).view(CLIPS, FRAMES, 17, 32).numpy()
        assert torch.equal(frozen.embed_query(tokens[2:], tokens[:2]), frozen.embed(tokens[2:]))


def test_count_at_the_size_of_vit_b16() -> None:
    assert count_at_vit_b16("task-adapter") == 2 * (768 * 192 + 192 + 192 * 768 + 768) == 591_744


@pytest.mark.parametrize(
    "options, message",
    [
        ({"blocks": 0}, "blocks '0': expected all"),
        ({"reduction": 64}, "reduction '64': a tower of 32 channels allows no more"),
        ({"transductive": 1}, "option 'transductive': it should be a valid boolean or be 'queries'"),
        ({"place": "both"}, "option 'place': it should be 'mlp' or 'attention'"),
        ({"frames": 8}, "tuning 'task-adapter' has no option 'frames'; its options: blocks=2, reduction=4"),
    ],
)
def test_options_that_do_not_exist_are_refused(loaded: Backbone, options: dict[str, Any], message: str) -> None:
    ours = loaded.copy()
    with pytest.raises(OptionError, match=message):
        tuning.apply("task-adapter", ours, **options)
    assert not trained_state(ours)
    assert not ours.episodic
