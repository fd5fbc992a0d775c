"""docs/parity.md: every head and tuning method beside a second implementation, and the page as the script writes it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kshot.heads import HEADS, named
from kshot.tuning import TUNING
from kshot.tuning import named as named_of_method

pytest.importorskip("sklearn")

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def parity() -> Iterator[Any]:
    sys.path.insert(0, str(ROOT / "scripts"))
    yield importlib.import_module("parity")
    sys.path.remove(str(ROOT / "scripts"))


def test_the_page_is_what_the_script_writes(parity: Any) -> None:
    assert parity.PAGE.read_text("utf-8") == parity.page(), "run python scripts/parity.py"


def test_every_head_and_method_is_on_the_page_with_its_default(parity: Any) -> None:
    for names, variants in ((HEADS, parity.HEAD_VARIANTS), (TUNING, parity.TUNING_VARIANTS)):
        assert {one.name for one in variants} == set(names)
        default = {one.name for one in variants if not one.options}
        assert set(names) - default <= {"fusion"}  # whose default weight is a rule of kshot's own
    page = parity.PAGE.read_text("utf-8")
    assert all(f"`{name}` | " in page for name in set(HEADS) | set(TUNING) if name != "fusion")
    for choices, names in ((named, HEADS), (named_of_method, TUNING)):
        for name in names:  # what old files mean is said, too
            assert not choices(name) or f"`{name}`" in page.partition("does not name them")[2]


def test_every_default_equals_its_second_implementation(parity: Any) -> None:
    """Of the page's lines, which the first test compares with fresh ones."""
    lines = [line for line in parity.PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    apart = [line for line in lines if "100.0 % | +0.00 | equal to rounding" not in line]
    assert len(lines) == len(parity.HEAD_VARIANTS) + len(parity.TUNING_VARIANTS)
    assert [line.split(" | ")[1] for line in apart] == ["the first public code as it is, its cosine with 0.01 below"]


def test_another_variant_is_seen(parity: Any) -> None:
    """The comparison is no formality: the options of before, against the published code, differ."""
    by_name = {one.name: one for one in reversed(parity.HEAD_VARIANTS) if not one.options}
    for name, options in (("otam", {"variant": "clip-fsar"}), ("clip-fsar", {"merge": False})):
        assert "differs" in str(parity.of_head(replace(by_name[name], options=options)))
    plain = parity.load("kshot-tiny")
    methods = {one.name: one for one in reversed(parity.TUNING_VARIANTS) if not one.options}
    for name, options in (("adaptformer", {"norm": True}), ("task-adapter", {"place": "attention"})):
        assert "differs" in str(parity.of_method(replace(methods[name], options=options), plain))
    with pytest.raises(AssertionError, match=r"partial: image\.norm"):
        parity.of_method(replace(methods["partial"], learns=("image.blocks.-1.",)), plain)
