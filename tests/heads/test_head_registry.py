"""The family of heads: every file is listed, names and options are checked, a new head is a file and a line."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
import types
from inspect import signature
from pathlib import Path

import pytest
import torch

import kshot.heads
from kshot import heads, tuning
from kshot.errors import OptionError
from kshot.heads import HEADS, Head, get_head, options
from kshot.options import declared, expect


def test_no_head_is_forgotten() -> None:
    written = set()
    for found in pkgutil.iter_modules(kshot.heads.__path__, "kshot.heads."):
        module = importlib.import_module(found.name)
        written |= {
            f"{found.name}:{name}"
            for name, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, Head) and value.__module__ == found.name
        }
    assert written - set(HEADS.values()) == {"kshot.heads.base:Head", "kshot.heads.alignment:FrameHead"}
    assert set(HEADS.values()) <= written


def test_names_are_those_of_the_command_line() -> None:
    expected = "nearest prototype otam bimhm trx clip-fsar linear-probe baseline++ meta-baseline tip-adapter"
    assert set(HEADS) == {*expected.split(), "tip-adapter-f", "text", "fusion", "product", "change", "both", "where"}


@pytest.mark.parametrize("name", HEADS)
def test_every_head_documents_its_options_and_source(name: str) -> None:
    head = get_head(name)
    assert head.name == name
    text = type(head).__doc__ or ""
    assert any(year in text for year in map(str, range(1967, 2025)))
    for option in options(name):
        assert option in text, f"{name} does not explain {option}"


def test_unknown_head_names_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"unknown head 'prototyp': did you mean 'prototype'\? Known: nearest, "):
        get_head("prototyp")


@pytest.mark.parametrize("name", HEADS)
def test_what_is_named_in_a_record_is_an_option(name: str) -> None:
    """A file that does not name an option whose default was another once gets that one, a new file names it."""
    before, defaults = heads.of_record(name, {}), heads.options(name)
    assert heads.named(name) == {option: defaults[option] for option in before}
    assert all(before[option] != defaults[option] for option in before)
    heads.get_head(name, **before)
    assert heads.of_record("no such head", {"a": 1}) == {"a": 1}


def test_unknown_option_names_the_options() -> None:
    with pytest.raises(OptionError, match=r"'otam' has no option 'lambda'; its options: variant='otam', smooth=None"):
        get_head("otam", **{"lambda": 0.1})


@pytest.mark.parametrize(
    ("name", "option", "value", "message"),
    [
        ("otam", "shots", "sum", "'features' or 'distances', found 'sum'"),
        ("otam", "smooth", 0, "greater than 0, found 0"),
        ("trx", "sizes", (), r"such as \(2, 3\)"),
        ("clip-fsar", "align", "dtw", "'otam' or 'bimhm', found 'dtw'"),
        ("clip-fsar", "dim", 100, "100 does not divide into 8 heads"),
        ("linear-probe", "C", 0, "greater than 0, found 0"),
        ("tip-adapter", "alpha", "auto", "option 'alpha': it should be a valid number or be 'loo', found 'auto'"),
        ("tip-adapter", "alpha", -1, "greater than or equal to 0 or be 'loo', found -1"),
        ("prototype", "scale", "high", "head 'prototype': option 'scale': it should be a valid number, found 'high'"),
        ("prototype", "scale", float("nan"), "option 'scale': expected a finite number, found nan"),
        ("text", "scale", 0, "option 'scale': it should be greater than 0, found 0"),
        ("trx", "dropout", 7, "option 'dropout': it should be less than 1, found 7"),
        ("trx", "width", 0, "option 'width': it should be greater than or equal to 1, found 0"),
        ("baseline++", "epochs", 2.5, "option 'epochs': it should be a valid integer, found 2.5"),
        ("clip-fsar", "heads", 0, "option 'heads': it should be greater than or equal to 1, found 0"),
        ("fusion", "beta", 1.5, "less than or equal to 1 or be 'earned' or 'loo', found 1.5"),
    ],
)
def test_impossible_values_are_refused(name: str, option: str, value: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        get_head(name, **{option: value})


@pytest.mark.parametrize("place", [*HEADS.values(), *(f"{module}:apply" for module in tuning.TUNING.values())])
def test_a_signature_read_from_the_source_is_the_real_one(place: str) -> None:
    module, _, name = place.partition(":")
    real = getattr(importlib.import_module(module), name)

    def shape(function: object) -> list[tuple[str, object, str]]:
        return [(one.name, one.default, str(one.annotation)) for one in signature(function).parameters.values()]

    read = declared(place)
    assert read is not real and shape(read) == shape(real)


def test_a_signature_without_a_source_is_that_of_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = types.ModuleType("without_source")
    bare.apply = lambda width=4: width  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "without_source", bare)
    assert declared("without_source:apply") is bare.apply


def test_a_new_head_is_one_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_head.py").write_text(
        "from kshot.heads.base import Head\n"
        "from kshot.heads.formulas import class_means\n"
        "class FirstChannel(Head):\n"
        "    '''The class whose first channel is nearest.'''\n"
        "    def __init__(self, power=1):\n"
        "        super().__init__()\n"
        "        self.power = power\n"
        "    def score(self, query, support, labels, text, way):\n"
        "        q, s = query[..., 0].mean(2), class_means(support[..., 0].mean(2), labels, way)\n"
        "        return -(q[:, :, None] - s[:, None]).abs() ** self.power\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(HEADS, "toy", "toy_head:FirstChannel")
    clips = torch.tensor([0.0, 10.0, 4.0]).view(1, 3, 1, 1)
    scores = get_head("toy", power=2)(clips[:, 2:], clips[:, :2], torch.tensor([[1, 0]]))
    assert scores.tolist() == [[[-36.0, -16.0]]]
    with pytest.raises(OptionError, match="'toy' has no option 'scale'; its options: power=1"):
        get_head("toy", scale=3)
    sys.modules.pop("toy_head")


def test_the_page_on_heads_is_complete() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "heads.md").read_text()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")
    ]
    assert {row[0] for row in cells} >= {f"`{name}`" for name in HEADS}
    told = {
        (head.strip("` "), row[1].strip("`"), row[2]) for row in cells if len(row) == 4 for head in row[0].split(",")
    }
    for name in HEADS:
        assert {(n, o, d) for n, o, d in told if n == name} == {(name, o, repr(d)) for o, d in options(name).items()}


def test_the_example_on_the_page_runs() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "heads.md").read_text()
    scope: dict[str, object] = {"__name__": "peak"}
    exec(page.split("```python\n")[1].split("```")[0], scope)
    peak = scope["Peak"]
    assert isinstance(peak, type)
    clips = torch.stack([torch.eye(3), torch.zeros(3, 3)], dim=1)[None]  # each clip: one frame of its own, one empty
    torch.testing.assert_close(peak()(clips, clips, torch.arange(3)[None]), torch.eye(3)[None])


def test_an_annotation_that_only_type_checkers_know_does_not_hide_the_others() -> None:
    def target(clip: Unknown = None, scale: float = 1.0, plain=2) -> None: ...  # type: ignore[no-untyped-def,name-defined]  # noqa: F821

    known = {"clip": None, "scale": 1.0, "plain": 2}
    expect("t", known, {"clip": "anything", "plain": "anything", "scale": 2}, target)
    with pytest.raises(OptionError, match="t: option 'scale': it should be a valid number, found 'high'"):
        expect("t", known, {"scale": "high"}, target)


@pytest.mark.parametrize("name", HEADS)
def test_a_value_of_the_wrong_kind_is_refused_before_anything_is_made(name: str) -> None:
    """Of options that a head inherits from a class in another module, too."""
    for option in options(name):
        with pytest.raises(
            OptionError, match=f"^head '{re.escape(name)}': option '{option}': it should .*, found {{}}$"
        ):
            kshot.heads.expect(name, {option: {}})
