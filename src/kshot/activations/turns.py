"""Who extracts when several processes want the same activations: one of them, and the others read what it stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kshot import processes
from kshot.activations.store import located
from kshot.files import locked

TURN = ".kshot-turn"
"""The lock in a store folder of who may extract."""


@contextmanager
def turn(store: str | Path | None) -> Iterator[bool]:
    """A block that extracts; gives whether this process may open videos in it.

    Of processes that work together the first one extracts, then the others find everything stored. Of those that work
    apart, on rows of one study, one at a time extracts into a store.

    Args:
        store: folder or address; $KSHOT_HOME/store by default. Of an address this holds on one machine.
    """
    if processes.working_apart():
        with locked(located(store).path, TURN, wait=True):
            yield True
        return
    with processes.first_before_others() as first:
        yield first
