"""A checkpoint's own preprocessing: followed to the number, or refused by the setting's name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kshot.backbones import backbone, preprocessing
from kshot.errors import CheckpointError

OLD, NEW = preprocessing.FILES[0], preprocessing.WHOLE


@pytest.fixture
def folder(clip_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(clip_folder, tmp_path / "clip")


def say(folder: Path, **values: Any) -> None:
    """Changes settings of the old file; ... takes one out."""
    path = folder / OLD
    changed = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({name: value for name, value in changed.items() if value is not ...}))


def move(folder: Path) -> None:
    """As transformers 5 saves it: under "image_processor" of the processor's file, and nowhere else."""
    values = json.loads((folder / OLD).read_text())
    (folder / NEW).write_text(json.dumps({"image_processor": values, "processor_class": "CLIPProcessor"}))
    (folder / OLD).unlink()


FOLLOWED: list[dict[str, Any]] = [
    {},
    {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.125]},
    {"image_mean": 0.5, "image_std": 0.5},
    {"do_normalize": False},
    {"do_rescale": False, "image_mean": [120.0, 110.0, 100.0], "image_std": [60.0, 50.0, 40.0]},
    {"rescale_factor": 1 / 127.5, "image_mean": [1.0, 1.0, 1.0], "image_std": [1.0, 1.0, 1.0]},
    {"do_convert_rgb": False, "size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}},
]


@pytest.mark.parametrize("nested", [False, True], ids=["to itself", "in the processor's file"])
@pytest.mark.parametrize("values", FOLLOWED, ids=lambda values: ",".join(values) or "usual")
def test_what_is_followed_gives_the_pixels_of_transformers(folder: Path, values: dict[str, Any], nested: bool) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    say(folder, **values)
    said = {name: value for name, value in json.loads((folder / OLD).read_text()).items() if "type" not in name}
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    expected = CLIPImageProcessorPil(**said)(list(images), return_tensors="pt")["pixel_values"].float()
    if nested:
        move(folder)
    found = backbone.load(folder).pixels(images)
    torch.testing.assert_close(found, expected, atol=3e-6, rtol=2e-6)


def test_what_transformers_saves_today_is_read_as_it_says(folder: Path) -> None:
    from transformers import CLIPProcessor, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    before = backbone.load(folder).fingerprint
    processor = CLIPImageProcessorPil.from_pretrained(folder)
    processor.image_mean = processor.image_std = [0.5, 0.5, 0.5]
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    (folder / OLD).unlink()
    assert backbone.load(folder).fingerprint == before  # CLIP's own values, said or not
    CLIPProcessor(processor, tokenizer).save_pretrained(folder)
    assert (folder / NEW).exists() and not (folder / OLD).exists()
    made = backbone.load(folder)
    assert made.mean.flatten().tolist() == made.std.flatten().tolist() == [0.5, 0.5, 0.5]
    assert made.fingerprint != before


def test_the_fingerprint_is_that_of_the_pixels_wherever_they_are_said(folder: Path) -> None:
    usual = backbone.load(folder).fingerprint
    say(folder, size=32, crop_size=[32, 32], resample="bicubic", rescale_factor=..., do_pad=None, use_square_size=False)
    assert backbone.load(folder).fingerprint == usual
    say(folder, image_mean=[0.5, 0.4, 0.3])
    changed = backbone.load(folder).fingerprint
    move(folder)
    assert backbone.load(folder).fingerprint == changed != usual


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"do_resize": False}, r"do_resize is False, which kshot does not follow \(frames are resized\)"),
        ({"do_center_crop": False}, "do_center_crop is False"),
        ({"resample": 2}, r"resample is 2, .*bicubic filter, 3"),
        ({"size": 48}, r"size is 48, .*the 32 pixels of config.json"),
        ({"size": {"height": 32, "width": 32}}, "size is .'height': 32"),
        ({"size": {"shortest_edge": 32, "longest_edge": 64}}, "size is .'shortest_edge': 32, 'longest_edge': 64"),
        ({"size": [32, 32]}, r"size is \[32, 32\]"),
        ({"crop_size": {"height": 32, "width": 16}}, r"crop_size is \[32, 16\], but config.json asks for 32"),
        ({"crop_size": True}, "crop_size is True"),
        ({"default_to_square": True}, "default_to_square is True"),
        ({"do_pad": True}, "do_pad is True, .*this setting is not known"),
        ({"crop_pct": 0.875}, "crop_pct is 0.875"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order is True"),
        ({"image_processor_type": "ViTImageProcessor"}, "image_processor_type is 'ViTImageProcessor', expected one of"),
        ({"do_normalize": "no"}, "do_normalize is 'no', expected true or false"),
        ({"rescale_factor": 0}, "rescale_factor is 0, expected a number above 0"),
        ({"rescale_factor": float("nan")}, "rescale_factor is nan"),
        ({"image_std": [0.5, 0.5, float("inf")]}, r"image_std is \[0.5, 0.5, inf\], expected three numbers"),
        ({"image_std": [0.5, -0.5, 0.5]}, r"image_std is \[0.5, -0.5, 0.5\], expected three numbers above 0"),
        ({"image_mean": [0.5, 0.5, float("nan")]}, "image_mean is"),
        ({"image_mean": [0.5, 0.5, True]}, "image_mean is"),
        ({"image_mean": [10**400] * 3}, "image_mean is"),
    ],
)
@pytest.mark.parametrize("nested", [False, True], ids=["to itself", "in the processor's file"])
def test_what_is_not_followed_is_refused_by_name(
    folder: Path, values: dict[str, Any], words: str, nested: bool
) -> None:
    say(folder, **values)
    if nested:
        move(folder)
    with pytest.raises(CheckpointError, match=f"{NEW}, image_processor: {words}" if nested else f"{OLD}: {words}"):
        preprocessing.read_pixels(folder, 32)


def test_two_files_that_differ_are_refused_naming_both(folder: Path) -> None:
    kept = (folder / OLD).read_bytes()
    usual = backbone.load(folder).fingerprint
    move(folder)
    (folder / OLD).write_bytes(kept)
    assert backbone.load(folder).fingerprint == usual  # the same said twice
    say(folder, image_mean=[0.5, 0.5, 0.5])
    with pytest.raises(CheckpointError, match=rf"{OLD} and {NEW} ask for different pixels \(mean \[0.5, "):
        backbone.load(folder)


def test_a_processors_file_without_an_image_processor_says_nothing(folder: Path) -> None:
    usual = backbone.load(folder).fingerprint
    (folder / NEW).write_text('{"processor_class": "CLIPProcessor"}')
    assert backbone.load(folder).fingerprint == usual
    (folder / NEW).write_text('{"image_processor": [1]}')
    with pytest.raises(CheckpointError, match="image_processor holds a list, expected an object"):
        backbone.load(folder)
