"""Errors: every one is kshot's own, and an unknown name is met with the nearest known one."""

from __future__ import annotations

import inspect

import pytest

from kshot import errors
from kshot.errors import KshotError, OptionError, unknown

FAMILY = ["prototype", "text", "otam", "trx"]


def test_every_error_is_one_of_kshot_s() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
    assert len(kinds) >= 8 and all(issubclass(kind, KshotError) for kind in kinds)
    assert issubclass(errors.NotEnoughClips, errors.DataError) and issubclass(errors.ClipLost, errors.VideoError)


@pytest.mark.parametrize(
    ("name", "near"), [("protoype", "prototype"), ("Text", "text"), ("ottam", "otam"), ("nothing like it", None)]
)
def test_the_nearest_name_is_offered_and_all_are_listed(name: str, near: str | None) -> None:
    error = unknown("head", name, FAMILY)
    assert isinstance(error, OptionError)
    text = str(error)
    assert text.startswith(f"unknown head '{name}': ") and text.endswith("Known: prototype, text, otam, trx")
    assert ("did you mean" in text) == (near is not None) and (near is None or f"'{near}'?" in text)


@pytest.mark.parametrize("name", [None, 3, ["otam"]])
def test_what_is_no_name_is_shown_all_the_same(name: object) -> None:
    assert str(unknown("head", name, iter(FAMILY))).startswith(f"unknown head '{name}': ")
