"""What prepared benchmarks hold, field by field."""

from __future__ import annotations

from kshot.forms import Count, Form, Names


class ExpectedCounts(Form):
    """Split -> label -> clips, as published.

    Attributes:
        train: label -> clips.
        val: label -> clips.
        test: label -> clips.
    """

    train: dict[str, Count]
    val: dict[str, Count]
    test: dict[str, Count]


class PreparedFile(Form):
    """`prepared.json` of a benchmark.

    Attributes:
        format: of this file.
        benchmark: its name.
        found: clips that are there.
        expected: clips that were published.
        missing: split -> clips that are not there.
    """

    format: int
    benchmark: str
    found: Count
    expected: ExpectedCounts
    missing: dict[str, Names]
