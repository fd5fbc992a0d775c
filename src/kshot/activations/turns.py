"""Who extracts when several processes want the same activations: one of them, and the others read what it stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kshot import processes


@contextmanager
def turn() -> Iterator[bool]:
    """A block that extracts; gives whether this process may open videos in it.

    Of processes that work together the first one extracts, then the others find everything stored.
    """
    with processes.first_before_others() as first:
        yield first
