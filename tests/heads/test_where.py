"""Where: frames pooled by how much each place changes, in every family of frames, against plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot import evaluate, heads, tuning
from kshot.backbones import places
from kshot.backbones.backbone import Backbone
from kshot.backbones.lite import Lite, LiteTower, Size
from kshot.errors import OptionError
from kshot.fewshot.learner import Learner

FRAMES = 4


@pytest.fixture(scope="module")
def lite() -> Backbone:
    torch.manual_seed(0)
    made = Lite(LiteTower(Size(0.25, 0.3, 64, "", "")))
    for weight in made.parameters():
        if weight.ndim > 1:  # else every layer makes its values smaller
            torch.nn.init.kaiming_normal_(weight)
    return made


def slow_weights(clip: Tensor) -> list[float]:
    """Of places (T, M, D) of one clip, place by place."""
    changes = []
    for place in range(clip.shape[1]):
        steps = [float((clip[t + 1, place] - clip[t, place]).norm()) for t in range(len(clip) - 1)]
        changes.append((sum(steps) / len(steps)) ** 2)
    return [change / sum(changes) for change in changes]


def test_weights_by_a_loop() -> None:
    clips = torch.randn(3, FRAMES, 5, 6, dtype=torch.float64)
    found = places.weights(clips.flatten(0, 1), FRAMES).view(3, FRAMES, 5)
    for clip, weights in zip(clips, found, strict=True):
        for frame in weights:
            torch.testing.assert_close(frame, torch.tensor(slow_weights(clip), dtype=torch.float64))


def test_where_nothing_changes_all_places_count_alike_and_gradients_are_finite() -> None:
    still = torch.ones(FRAMES, 5, 6, requires_grad=True)
    weights = places.weights(still, FRAMES)
    torch.testing.assert_close(weights, torch.full((FRAMES, 5), 0.2))
    weights.square().sum().backward()
    assert still.grad is not None and still.grad.isfinite().all()
    with pytest.raises(OptionError, match="at least 2 frames a clip, found 1"):
        places.weights(torch.ones(3, 5, 6), 1)


def clips(backbone: Backbone, count: int = 3) -> Tensor:
    """Pixels (count * FRAMES, 3, S, S)."""
    draw = torch.Generator().manual_seed(1)
    return torch.randn(count * FRAMES, 3, backbone.size, backbone.size, generator=draw)


def slow_lite(backbone: Backbone, pixels: Tensor) -> Tensor:
    """The last map of each frame, its places weighed one by one."""
    tower, rows = backbone.image, []
    maps = tower.blocks[-1](tower.encode_to(pixels, tower.depth)).flatten(2).mT
    for clip in maps.view(-1, FRAMES, *maps.shape[1:]):
        weights = slow_weights(clip)
        rows += [sum(weight * frame[place] for place, weight in enumerate(weights)) for frame in clip]
    return torch.stack(rows)


def slow_clip(backbone: Backbone, pixels: Tensor) -> Tensor:
    """The last block as it is written, but for the weights of its attention, which are those of change."""
    tower, rows = backbone.image, []
    block = tower.blocks[-1]
    tokens = tower.encode_to(pixels, tower.depth)
    for clip in tokens.view(-1, FRAMES, *tokens.shape[1:]):
        seen = F.layer_norm(clip, clip.shape[-1:], eps=block.layer_norm1.eps)
        weights = slow_weights(seen[:, 1:])
        for frame in clip:
            values = block.self_attn.v_proj(block.layer_norm1(frame))[1:]
            mean = sum(weight * value for weight, value in zip(weights, values, strict=True))
            token = frame[0] + block.self_attn.out_proj(mean)
            token = token + block.mlp(block.layer_norm2(token))
            rows.append(tower.projection(tower.norm(token)))
    return torch.stack(rows)


@pytest.mark.parametrize("family", ["clip", "lite"])
@torch.inference_mode()
def test_every_frame_family_by_a_loop_from_every_cut(family: str, backbone: Backbone, lite: Backbone) -> None:
    made, slow = (backbone, slow_clip) if family == "clip" else (lite, slow_lite)
    pixels = clips(made)
    wanted = slow(made, pixels)
    for cut in range(made.depth + 1):
        found = made.encode_from(made.encode_to(pixels, cut), cut, FRAMES, changing=True)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    if made.image.exact:
        condensed = made.condense(made.encode_to(pixels, made.depth))
        found = made.encode_from(condensed, made.depth, FRAMES, changing=True)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    assert (wanted - made.encode_from(pixels, 0, FRAMES)).abs().max() > 1e-3, "it is the plain embedding"
    with pytest.raises(OptionError, match="only the embedding was kept"):
        made.encode_from(made.encode_to(pixels, made.depth + 1), made.depth + 1, FRAMES, changing=True)


@pytest.mark.parametrize("family", ["clip", "lite"])
def test_gradients_reach_what_partial_tunes(family: str, backbone: Backbone, lite: Backbone) -> None:
    made = backbone if family == "clip" else lite
    learner = Learner.build(made, "partial", head="where")
    assert learner.backbone is not None and learner.cut == made.depth
    values = made.encode_to(clips(made), made.depth).detach()
    learner.embed(values.view(3, FRAMES, *values.shape[1:]).numpy()).square().sum().backward()
    grads = [weight.grad for weight in learner.weights().values()]
    assert all(grad is not None and grad.isfinite().all() for grad in grads if grad is not None)
    assert sum(grad is not None and bool(grad.abs().sum() > 0) for grad in grads) >= 2


def test_a_learner_of_this_head_keeps_places(backbone: Backbone) -> None:
    assert Learner.frozen(backbone, "prototype").cut == backbone.depth + 1
    assert Learner.frozen(backbone, "where").cut == backbone.depth
    assert Learner.build(backbone, "clip-adapter", head="where").cut == backbone.depth
    assert heads.find("where").by_change


@pytest.mark.parametrize("method", ["task-adapter", "st-adapter"])
def test_a_tuning_that_it_does_not_fit_is_refused(method: str, backbone: Backbone) -> None:
    assert method in tuning.TUNING
    with pytest.raises(OptionError, match=r"'where' weighs places .* use another head or another tuning"):
        Learner.build(backbone, method, head="where")


def test_ready_made_features_have_no_places(tmp_path: Path) -> None:
    names = np.repeat(["a", "b"], 8)
    np.savez(tmp_path / "f.npz", features=np.random.default_rng(0).normal(size=(16, 3, 8)).astype(np.float32),
             label=names, split=np.repeat("test", 16), group=np.arange(16).astype(str), path=names)  # fmt: skip
    with pytest.raises(OptionError, match=r"'where' weighs places .* ready-made features have none.* such as change"):
        evaluate(features=tmp_path / "f.npz", head="where", way=2, episodes=5)
    assert evaluate(features=tmp_path / "f.npz", head="change", way=2, episodes=5).head == "change"


def test_one_frame_a_clip_is_refused_before_anything_is_read(clips_csv: Path, backbone: Backbone) -> None:
    for head in ("change", "both", "where"):
        with pytest.raises(OptionError, match=f"head '{head}' compares successive frames: expected at least 2 a clip"):
            evaluate(clips_csv, backbone, head=head, frames=1, way=2, store=Path("nowhere"))


def test_rounding_weighs_no_place() -> None:
    torch.manual_seed(0)
    still = torch.randn(1, 1, 9, 16).expand(1, 4, 9, 16)
    noisy = (still * (1 + 1e-6 * torch.randn(1, 4, 9, 16))).flatten(0, 1)
    torch.testing.assert_close(places.weights(noisy, 4), torch.full((4, 9), 1 / 9))
    one = noisy.clone()
    one[::2, 3] += 0.01
    assert (places.weights(one, 4)[:, 3] > 0.99).all()
