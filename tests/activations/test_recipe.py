"""The recipe of stored activations: every field that changes a number is another key, and the keys are those of old."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kshot.activations.recipe import Recipe
from kshot.errors import OptionError
from kshot.video import FRAMINGS

BACKBONE: Any = SimpleNamespace(depth=12, size=224, fingerprint="ab" * 32, precision="float32", encoder="torch")
LAST = Recipe(12)


def folder(recipe: Recipe, backbone: Any = BACKBONE) -> str:
    return hashlib.sha256(json.dumps(recipe.key(backbone), sort_keys=True).encode()).hexdigest()[:16]


def test_the_key_of_a_store_is_the_one_it_always_was() -> None:
    """Spelled out: with another the stores of all users would be made anew."""
    whole = {
        "cut": 12, "frames": 8, "sampling": "middle", "size": 224, "view": 0, "format": 1,
        "preprocessing": "short side to size (PIL bicubic), centre crop", "backbone": "ab" * 32, "dtype": "float16",
        "precision": "float32", "condensed": True,
    }  # fmt: skip
    assert LAST.key(BACKBONE) == whole
    assert Recipe(3).key(BACKBONE) == {name: whole[name] for name in whole if name != "condensed"} | {"cut": 3}
    shared = ("cut", "frames", "sampling", "size", "view", "format", "preprocessing")
    assert Recipe(0).key(BACKBONE) == {name: whole[name] for name in shared} | {"cut": 0}
    drawn = Recipe(12, view=2, augment=("time", "crop", "flip")).key(BACKBONE)
    assert drawn == whole | {
        "sampling": "random", "view": 2,
        "preprocessing": "short side to 256/224 of size (PIL bicubic), random crop, mirrored at random",
    }  # fmt: skip


def test_every_field_is_another_folder() -> None:
    changes: dict[str, Any] = {
        "cut": 11, "frames": 4, "dtype": "float32", "condense": False, "resize": "squash-256", "view": 1,
        "augment": ("time",), "deinterlace": True,
    }  # fmt: skip
    assert set(changes) == {field.name for field in fields(Recipe)}, "a new field needs its line here"
    others = [folder(replace(LAST, **{name: value})) for name, value in changes.items()]
    backbones = [{"size": 336}, {"fingerprint": "cd"}, {"precision": "bfloat16"}, {"encoder": "onnx"}]
    others += [folder(LAST, SimpleNamespace(**{**vars(BACKBONE), **change})) for change in backbones]
    assert len({folder(LAST), *others}) == len(others) + 1


def test_frames_are_shared_by_backbones_of_one_size_and_condensing_matters_at_the_last_block_only() -> None:
    other = SimpleNamespace(depth=24, size=224, fingerprint="cd", precision="float16", encoder="onnx")
    assert folder(Recipe(0)) == folder(Recipe(0, dtype="float32"), other)
    assert folder(Recipe(5)) == folder(Recipe(5, condense=False))
    assert folder(Recipe(13)) == folder(Recipe(13, condense=False))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"dtype": "float64"}, "dtype 'float64' is not known"), ({"frames": 0}, "frames must be at least 1")],
)
def test_what_no_recipe_can_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Recipe(0, **options)
    with pytest.raises(OptionError, match="unknown resize 'long'"):
        Recipe(0, resize="long").key(BACKBONE)


def test_view_0_is_the_same_of_all_clips() -> None:
    for digest in ("", "0" * 64, "f" * 64):
        job = Recipe(0, 4, resize="short-256").job(Path("a.mp4"), 32, digest)
        assert (job.mode, job.framing, job.frames, job.size) == ("middle", FRAMINGS["short-256"], 4, 32)
    assert Recipe(0, deinterlace=True).job(Path("a.mp4"), 32).framing == replace(FRAMINGS["short"], deinterlace=True)
    assert not job.allow_damaged and Recipe(0).job(Path("a.mp4"), 32, allow_damaged=True).allow_damaged


def test_what_is_drawn_depends_on_the_bytes_and_the_view_alone() -> None:
    recipe = Recipe(0, view=1, augment=("time", "crop", "flip"))
    digests = [hashlib.sha256(bytes([i])).hexdigest() for i in range(64)]
    jobs = [recipe.job(Path(f"{i}.mp4"), 32, digest) for i, digest in enumerate(digests)]
    again = [recipe.job(Path("elsewhere.mp4"), 32, digest) for digest in digests]
    assert [(job.seed, job.framing) for job in jobs] == [(job.seed, job.framing) for job in again]
    assert len({job.seed for job in jobs}) == len({job.framing.place for job in jobs}) == 64
    second = [replace(recipe, view=2).job(Path("a"), 32, digest) for digest in digests]
    assert all(one.seed != other.seed and one.framing != other.framing for one, other in zip(jobs, second, strict=True))
    places = np.array([job.framing.place for job in jobs])
    assert 0 <= places.min() < 0.1 and 0.9 < places.max() < 1
    assert 16 < sum(job.framing.flip for job in jobs) < 48
    assert all(job.mode == "random" for job in jobs)


def test_only_what_is_named_is_drawn() -> None:
    digest = "5a" * 32
    for names, drawn in ((("time",), ()), (("crop",), ("place",)), (("flip",), ())):
        job = Recipe(0, view=3, augment=names).job(Path("a"), 32, digest)
        assert (job.mode == "random") == ("time" in names)
        assert (job.framing.place is not None) == ("place" in drawn)
        assert "flip" in names or not job.framing.flip
