"""DINOv3: its pixels, its places, what is refused, and how its last block runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from checkpoints import class_token, dinov3, frames, write
from forks import Command
from kshot import tuning
from kshot.backbones import last_block
from kshot.backbones.backbone import Backbone, load
from kshot.backbones.families.dinov3 import Dinov3
from kshot.errors import CheckpointError, OptionError

PUBLISHED: dict[str, Any] = {  # settings of the published preprocessor_config.json, but for the side
    "crop_size": None, "data_format": "channels_first", "default_to_square": True, "device": None,
    "disable_grouping": None, "do_center_crop": None, "do_convert_rgb": None, "do_normalize": True, "do_rescale": True,
    "do_resize": True, "image_mean": [0.485, 0.456, 0.406], "image_processor_type": "DINOv3ViTImageProcessorFast",
    "image_std": [0.229, 0.224, 0.225], "input_data_format": None, "resample": 2, "rescale_factor": 0.00392156862745098,
    "return_tensors": None, "size": {"height": 32, "width": 32},
}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("dinov3")
    return folder, write(folder, "dinov3_vit")


@pytest.fixture
def folder(written: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(written[0], tmp_path / "dinov3")


def test_pixels_are_those_of_its_image_processor(folder: Path) -> None:
    bare = load(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PUBLISHED))
    made = load(folder)
    assert made.fingerprint == bare.fingerprint and made.resize == "squash-bilinear"
    torch.testing.assert_close(made.mean.flatten(), torch.tensor(PUBLISHED["image_mean"]))
    for setting, value in (("resample", 1), ("size", {"height": 48, "width": 48}), ("do_center_crop", True)):
        (folder / "preprocessor_config.json").write_text(json.dumps(PUBLISHED | {setting: value}))
        with pytest.raises(CheckpointError, match=f"{setting} is .*which kshot does not follow"):
            load(folder)


def test_places_turn_keys_so_that_the_whole_block_runs(written: tuple[Path, Any]) -> None:
    made = load(written[0])
    block: Any = made.image.blocks[-1]
    assert last_block.unaltered(block) and not last_block.exact(block) and made.image.first == 5
    x = frames(made, 4)
    tokens = made.encode_to(x, made.depth)
    with pytest.raises(OptionError, match="condensed tokens serve only an unaltered last block"):
        made.encode_from(made.condense(tokens), made.depth)
    seen = made.encode_from(tokens, made.depth, frames=2, changing=True)
    torch.testing.assert_close(seen, made.encode_from(x, 0, frames=2, changing=True))
    swapped = torch.cat([tokens[:, :5], tokens[:, 5:].flip(1)], 1)  # other places, another embedding
    assert not torch.allclose(made.encode_from(swapped, made.depth), made.encode_from(tokens, made.depth), atol=1e-3)


def test_without_registers_it_is_that_of_transformers(tmp_path: Path) -> None:
    theirs = dinov3(num_register_tokens=0, rope_theta=10.0, image_size=48).eval()
    theirs.save_pretrained(tmp_path)
    made = load(tmp_path)
    expected = class_token(theirs, frames(made))
    assert float((made(frames(made)) - expected).norm() / expected.norm()) <= 1e-5


@pytest.mark.parametrize("method", sorted(tuning.TUNING))
def test_a_tuning_method_fits_or_is_refused_in_one_line(written: tuple[Path, Any], method: str) -> None:
    made: Backbone = load(written[0])
    if method not in Dinov3.tunings:
        with pytest.raises(
            OptionError, match=f"tuning '{method}' does not fit backbone .*, which has no .*: take part"
        ):
            tuning.apply(method, made)
        return
    x = frames(made, 4)
    before = made(x)
    cut = tuning.apply(method, made)
    found = made.encode_from(made.encode_to(x, cut), cut, frames=2)
    if method not in ("vpt", "clip-adapter"):
        torch.testing.assert_close(found, before, atol=1e-4, rtol=1e-4)
    found.square().sum().backward()
    assert any(value.grad is not None and value.grad.any() for value in made.parameters())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"proj_bias": False}, "proj_bias is False, which kshot does not follow"),
        ({"image_size": [32, 32]}, "only square ones"),
        ({"num_attention_heads": 16}, "heads of 2 channels, not a multiple of 4"),
        ({"use_gated_mlp": True}, r"mlp.fc1.* has shape \(64.*asks for \(128"),
        ({"key_bias": True}, "incomplete: 3 of .*k_proj.bias"),
        ({"num_register_tokens": 2}, "register_tokens has shape"),
        ({"rope_theta": 0}, "rope_theta is 0, expected"),
        ({"architectures": ["DINOv3ViTForImageClassification"]}, "expected DINOv3ViTModel"),
    ],
)
def test_what_is_not_followed_is_one_line(folder: Path, values: dict[str, Any], words: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    with pytest.raises(CheckpointError, match=words) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_half_a_checkpoint_is_one_line(folder: Path) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    save_file({f"module.{name}": value for name, value in weights.items()}, file)
    with pytest.raises(CheckpointError, match=r"incomplete: .*; expected a whole DINOv3ViTModel without 'module\.'"):
        load(folder)


@pytest.mark.slow
def test_the_commands_work_on_it(command: Command, written: tuple[Path, Any], clips_csv: Path, tmp_path: Path) -> None:
    place = ("--backbone", written[0], "--store", tmp_path / "store", "--frames", 2)
    shape = ("--way", 3, "--query", 1)
    for name in ("prototype", "where"):
        code, out, err = command("evaluate", clips_csv, *place, *shape, "--episodes", 5, "--head", name, "--json")
        assert code == 0 and json.loads(out)["head"] == name, err
    code, out, err = command(
        "train", clips_csv, *place, *shape, "--tuning", "partial", "--steps", 2, "--val-every", 2, "--val-episodes", 3,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, err
    code, out, err = command("evaluate", clips_csv, *place, *shape, "--episodes", 5, "--head", "text")
    assert code == 2 and "has no text side" in err
