"""The modules of CLIP: the numbers of transformers' own to the bit, and the same reading of a configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kshot.backbones import backbone, clip, last_block
from kshot.backbones.families import clip as family
from kshot.backbones.tower import Tower


@pytest.fixture(scope="module")
def pair(clip_folder: Path) -> tuple[backbone.Backbone, backbone.Backbone]:
    """The tiny CLIP of these modules and of transformers'."""
    from safetensors.torch import load_file
    from transformers.models.clip.configuration_clip import CLIPConfig
    from transformers.models.clip.modeling_clip import CLIPModel

    ours = backbone.load(clip_folder)
    model = CLIPModel(CLIPConfig(**json.loads((clip_folder / "config.json").read_text())))
    model.load_state_dict(load_file(clip_folder / "model.safetensors"))
    return ours, backbone.Backbone(model, tokenizer=ours._tokenizer)


def gradients(tower: Tower, x: Tensor, out: Tensor) -> dict[str, Tensor]:
    named = {name: value.requires_grad_() for name, value in tower.named_parameters()}
    found = torch.autograd.grad(out.square().sum(), list(named.values()), allow_unused=True)
    for value in named.values():
        value.requires_grad_(False)
    return {name: value for name, value in zip(named, found, strict=True) if value is not None}


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("part", ["image", "text"])
def test_numbers_and_gradients_are_those_of_transformers(
    pair: tuple[backbone.Backbone, backbone.Backbone], part: str, plain: bool
) -> None:
    torch.manual_seed(0)
    results = []
    for made in pair:
        tower = getattr(made, part)
        x = torch.rand(3, 3, made.size, made.size, generator=torch.Generator().manual_seed(1))
        x = made.tokenize(["clap", "a video of a person doing open arms"]) if part == "text" else x
        tower.plain = plain
        assert tower.exact is not plain
        for value in tower.parameters():
            value.requires_grad_()
        out = tower.encode_from(x, 0)
        results.append((out, gradients(tower, x, out)))
        tower.plain = False
    (one, first), (other, second) = results
    assert torch.equal(one, other)
    assert first.keys() == second.keys() and len(first) > 10
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_weights_have_the_names_and_shapes_of_transformers(pair: tuple[backbone.Backbone, backbone.Backbone]) -> None:
    ours, theirs = ({name: value.shape for name, value in made.state_dict().items()} for made in pair)
    assert ours == theirs


def test_masks_and_dropout_are_those_of_transformers() -> None:
    from transformers.models.clip.configuration_clip import CLIPVisionConfig
    from transformers.models.clip.modeling_clip import CLIPEncoderLayer

    shape: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    for dropout, act in ((0.0, "gelu"), (0.3, "gelu_new")):
        config = CLIPVisionConfig(**shape, attention_dropout=dropout, hidden_act=act)
        config._attn_implementation = "sdpa"
        theirs = CLIPEncoderLayer(config)
        ours = clip.Layer(clip.VisionConfig(**shape, attention_dropout=dropout, hidden_act=act))
        ours.load_state_dict(theirs.state_dict())
        x, mask = torch.randn(2, 5, 32), torch.zeros(2, 1, 5, 5).masked_fill(torch.rand(2, 1, 5, 5) < 0.3, -1e4)
        for options in ({}, {"is_causal": True}):
            for chosen in (None, mask):
                results = []
                for layer in (theirs, ours):
                    torch.manual_seed(3)
                    results.append(layer(x, chosen, **options))
                assert torch.equal(*results)
    assert not last_block.exact(nn.Sequential(ours)) and last_block.exact(ours.eval())


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"text_config": None, "vision_config": {"patch_size": 16, "projection_dim": 512, "dropout": 0.0}},
        {
            "projection_dim": 768,
            "vision_config": {"hidden_size": 1024, "num_attention_heads": 16, "hidden_act": "gelu"},
        },
        {"text_config": {"hidden_size": 768, "eos_token_id": 2}, "text_config_dict": {"num_attention_heads": 4}},
    ],
)
def test_a_configuration_is_read_as_transformers_reads_it(values: dict[str, Any]) -> None:
    from transformers.models.clip.configuration_clip import CLIPConfig

    ours, theirs = clip.Config.read(values), CLIPConfig(**json.loads(json.dumps(values)))
    assert ours.projection_dim == theirs.projection_dim
    for tower in ("text_config", "vision_config"):
        for name, value in vars(getattr(ours, tower)).items():
            assert value == getattr(getattr(theirs, tower), name), (tower, name)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"text_config": {"num_hidden_layers": 0}}, "num_hidden_layers is 0, expected 1 to 512"),
        ({"vision_config": {"hidden_size": "x"}}, "hidden_size is 'x'"),
        ({"vision_config": {"hidden_size": 33}}, "hidden_size 33 is no multiple of 12 heads"),
        ({"vision_config": [1]}, "expected an object for a tower"),
        ({"projection_dim": True}, "projection_dim is True"),
    ],
)
def test_an_impossible_configuration_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        clip.Config.read(values)


def test_loading_a_backbone_and_asking_it_needs_no_transformers() -> None:
    script = """
import sys
from kshot.backbones import backbone
backbone.load("kshot-tiny").embed_text(["wave"])
print(sorted({"transformers", "peft", "scipy", "sklearn", "matplotlib", "torch._dynamo"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_activation_is_one_clear_error(clip_folder: Path, tmp_path: Path) -> None:
    from kshot.errors import CheckpointError

    for file in clip_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"]["hidden_act"] = "wavy"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="unknown activation: 'wavy'"):
        family.read(tmp_path, "wavy")
