from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from kshot import tuning
from kshot.backbones import backbone
from kshot.backbones.backbone import Backbone
from kshot.errors import CheckpointError, OptionError
from kshot.fewshot.learner import Learner
from tiny import random_clip
from tuned import trained_state

BLOCK = {
    f"{part}.{kind}"
    for part in (
        *(f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")),
        *("layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"),
    )
    for kind in ("weight", "bias")
}


def block(tower: str, number: int) -> set[str]:
    return {f"{tower}.blocks.{number}.{name}" for name in BLOCK}


def end(tower: str) -> set[str]:
    return {f"{tower}.norm.weight", f"{tower}.norm.bias", f"{tower}.projection.weight"}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return backbone.load(random_clip(tmp_path_factory.mktemp("clip")))


def frames() -> Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def train(ours: Backbone, cut: int, steps: int = 1) -> None:
    """Real steps from stored activations, as training does them."""
    stored = ours.encode_to(frames(), cut)
    weights = [value for value in ours.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        words = ours.embed_text(["clap", "wave", "jump", "run"])
        torch.nn.functional.cross_entropy(ours.encode_from(stored, cut) @ words.T, torch.arange(4)).backward()
        optimiser.step()


@pytest.mark.parametrize(
    "options, cut, names",
    [
        ({"layers": "proj"}, 3, {"image.projection.weight"}),
        ({"layers": "block"}, 3, block("image", 2)),
        ({}, 3, block("image", 2) | end("image")),
        ({"layers": "block+ln_post+proj"}, 3, block("image", 2) | end("image")),
        ({"layers": 1}, 3, block("image", 2) | end("image")),
        ({"layers": "2"}, 2, block("image", 1) | block("image", 2) | end("image")),
        ({"layers": 3}, 1, block("image", 0) | block("image", 1) | block("image", 2) | end("image")),
        ({"tower": "text"}, 4, block("text", 1) | end("text")),
        ({"tower": "both", "layers": "proj"}, 3, {"image.projection.weight", "text.projection.weight"}),
        ({"tower": "both", "layers": 2}, 2, block("image", 1) | block("image", 2) | block("text", 0)
         | block("text", 1) | end("image") | end("text")),
    ],
)  # fmt: skip
def test_exactly_the_named_layers_learn(loaded: Backbone, options: dict[str, Any], cut: int, names: set[str]) -> None:
    ours = loaded.copy()
    assert tuning.apply("partial", ours, **options) == cut
    assert set(trained_state(ours)) == names

    assert torch.equal(ours(frames()), loaded(frames()))  # step zero
    assert torch.equal(ours.embed_text(["clap"]), loaded.embed_text(["clap"]))
    assert ours.image.exact

    train(ours, cut)
    for name, value in ours.named_parameters():
        assert (value.grad is not None) == (name in names), name
        original = loaded.get_parameter(name)
        assert not original.requires_grad
        if "k_proj.bias" not in name:  # changes nothing, so only weight decay moves it
            assert torch.equal(value, original) == (name not in names), name


def test_training_a_copy_leaves_the_original_alone(loaded: Backbone) -> None:
    before = {name: value.clone() for name, value in loaded.named_parameters()}
    fingerprint = loaded.fingerprint
    for options in ({"layers": "proj", "tower": "both"}, {"layers": 3}):
        ours = loaded.copy()
        train(ours, tuning.apply("partial", ours, **options), steps=2)
        assert not torch.equal(ours(frames()), loaded(frames()))
        assert ours.fingerprint == fingerprint
    assert all(torch.equal(value, before[name]) for name, value in loaded.named_parameters())


def test_condensed_tokens_train_the_block_as_frames_do(loaded: Backbone) -> None:
    gradients = []
    for cut in (0, 3):
        ours = loaded.copy()
        tuning.apply("partial", ours)
        x = ours.encode_to(frames(), cut)
        ours.encode_from(ours.condense(x) if cut else x, cut).square().sum().backward()
        gradients.append({name: value.grad for name, value in ours.named_parameters() if value.requires_grad})
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)


def test_trained_weights_are_all_that_a_run_needs(loaded: Backbone) -> None:
    learner = Learner.build(loaded, "partial", {"layers": 2})
    assert learner.backbone is not None
    train(learner.backbone, learner.cut, steps=2)
    again = Learner.build(loaded, "partial", {"layers": 2})
    again.load(learner.weights(), "run")
    assert again.backbone is not None
    assert torch.equal(again.backbone(frames()), learner.backbone(frames()))


def test_weights_of_another_tuning_or_backbone_are_refused_whole(loaded: Backbone) -> None:
    learner = Learner.build(loaded, "partial", {"layers": "block"})
    assert learner.backbone is not None
    before = learner.backbone(frames())
    state = {name: value.detach() + 1 for name, value in learner.weights().items()}
    first = min(state)
    for odd, name in (
        ({name: value for name, value in state.items() if name != first}, first),
        (state | {"backbone.image.norm.bias": torch.ones(32)}, "backbone.image.norm.bias"),
        (state | {first: torch.ones(5)}, first),
    ):
        with pytest.raises(CheckpointError, match=rf"run holds other weights than this tuning .* train: {name}"):
            learner.load(odd, "run")
    assert torch.equal(learner.backbone(frames()), before)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"layers": 0}, "layers '0': expected proj, block, block.ln_post.proj, or how many last blocks, 1 to 3"),
        ({"layers": 4}, "layers '4': expected"),
        ({"layers": -1}, "layers '-1': expected"),
        ({"layers": True}, "option 'layers': it should be a valid string or"),
        ({"layers": "blocks"}, "layers 'blocks': expected"),
        ({"tower": "video"}, "option 'tower': it should be 'image', 'text' or 'both', found 'video'"),
        ({"rank": 4}, "tuning 'partial' has no option 'rank'; its options: layers='block.ln_post.proj', tower='image'"),
    ],
)
def test_options_that_do_not_exist_are_refused(loaded: Backbone, options: dict[str, Any], message: str) -> None:
    ours = loaded.copy()
    with pytest.raises(OptionError, match=message):
        tuning.apply("partial", ours, **options)
    assert not trained_state(ours)


def test_an_unknown_method_lists_the_known_ones(loaded: Backbone) -> None:
    with pytest.raises(OptionError, match=r"unknown tuning method 'partail': did you mean 'partial'\? Known: partial,"):
        tuning.apply("partail", loaded.copy())


@pytest.mark.parametrize("layers, count", [("proj", 393_216), ("block", 7_087_872), ("block+ln_post+proj", 7_482_624)])
def test_counts_at_the_size_of_vit_b16(layers: str, count: int) -> None:
    ours = vit_b16()
    assert tuning.apply("partial", ours, layers=layers) == 12
    assert ours.describe()["trained"] == count


def vit_b16() -> Backbone:
    """ViT-B/16 without memory."""
    from transformers.models.clip.configuration_clip import CLIPConfig
    from transformers.models.clip.modeling_clip import CLIPModel

    with torch.device("meta"):
        return Backbone(CLIPModel(CLIPConfig(vision_config={"patch_size": 16})))
