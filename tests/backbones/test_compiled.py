"""The trunk by torch.compile: the same numbers to rounding, under a key of its own, and one line where it cannot be."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import pytest
import torch

from kshot.activations.recipe import Recipe
from kshot.backbones.backbone import load
from kshot.errors import OptionError


def test_it_is_part_of_the_key_and_goes_with_copies(clip_folder: Path) -> None:
    ours, plain = load(clip_folder, encoder="compile"), load(clip_folder)
    assert ours.encoder == "compile" and ours.copy().runtime is ours.runtime
    assert Recipe(2).key(ours) == Recipe(2).key(plain) | {"encoder": "compile"}
    assert pickle.loads(pickle.dumps(ours.runtime)).encoder == "compile"
    x = torch.zeros(2, *ours.input_shape)
    assert ours.runtime is not None and not ours.runtime.runs(ours.image, x, 2), "not where gradients are wanted"
    with torch.inference_mode():
        assert ours.runtime.runs(ours.image, x, 2) and not ours.runtime.runs(ours.image, x, 0)
    with pytest.raises(OptionError, match="needs frames"):
        load("features:16", encoder="compile")


def test_the_numbers_are_the_same_to_rounding(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as ever, but run without a C++ compiler, which takes minutes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    ours, plain = load(clip_folder, encoder="compile"), load(clip_folder)
    assert ours.runtime is not None
    ours.runtime.prepare(ours.image, 2)
    x = torch.randn(3, *ours.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours.encode_to(x, 2), plain.encode_to(x, 2), rtol=1e-4, atol=1e-4)


def test_where_nothing_can_be_compiled_it_is_one_line(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> object:
        raise RuntimeError("\nno compiler\nwas found")

    monkeypatch.setattr(torch, "compile", refuse)
    ours = load(clip_folder, encoder="compile")
    assert ours.runtime is not None
    with pytest.raises(OptionError) as told:
        ours.runtime.prepare(ours.image, 2)
    assert str(told.value).startswith("encoder compile: PyTorch cannot compile here (no compiler): install")
