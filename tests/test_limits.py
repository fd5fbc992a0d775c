"""Limits of numbers: the least and the most are taken, the next ones are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kshot.errors import OptionError
from kshot.settings import COUNTS, FRONTS, bounds, expect

WHOLE = {name for front in FRONTS for name, one in front.fields().items() if one.type == "int"} | set(COUNTS)


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_the_ends_are_taken_and_what_lies_beyond_is_not(name: str) -> None:
    least, most = bounds(name)
    assert least < most
    expect(**{name: least})
    expect(**{name: most})
    with pytest.raises(OptionError, match=rf"^{name} must be at least {least}, found {least - 1}$"):
        expect(**{name: least - 1})
    with pytest.raises(OptionError, match=rf"^{name} must be at most {most:,}, found {most + 1}$"):
        expect(**{name: most + 1})


@pytest.mark.parametrize("value", [1.0, "8", None, [8], 8 + 0j, np.float64(8)])
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    with pytest.raises(OptionError, match="frames must be a whole number, found "):
        expect(frames=value)


@pytest.mark.parametrize("value", [True, False])
def test_yes_and_no_are_no_numbers(value: bool) -> None:
    with pytest.raises(OptionError, match=f"shot must be a whole number, found {value}"):
        expect(shot=value)


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    expect(frames=np.int64(8), seed=np.uint32(0))


def test_every_value_is_checked_and_a_huge_one_is_shown_in_short() -> None:
    with pytest.raises(OptionError, match="query must be at least 1"):
        expect(way=5, shot=1, query=0)
    with pytest.raises(OptionError) as error:
        expect(seed=10**5000)
    assert len(str(error.value)) < 150
