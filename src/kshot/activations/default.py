"""The backbone of whoever names none, by what the clips show."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from kshot import datasets
from kshot.backbones.hub import BUNDLED
from kshot.datasets.dataset import Dataset
from kshot.datasets.drawn import is_drawn
from kshot.errors import DataError

REAL = "lite"
"""The backbone of real video, where none is named."""

T = TypeVar("T")


class Default(NamedTuple):
    """The backbone of whoever names none.

    Attributes:
        name: `kshot-tiny`, `lite`, or `features:P` of ready-made features with P channels.
        notes: a sentence where drawn clips and real ones are mixed.
    """

    name: str
    notes: tuple[str, ...] = ()


def default_backbone(*data: str | Path | Dataset | Sequence[Path], known: Collection[Path] = frozenset()) -> Default:
    """The backbone of data for which none is named: `kshot-tiny` where every clip is drawn, else `lite`.

    Nothing is fetched, and that `lite` is installed is seen when it is loaded. Ready-made features are a backbone of
    their own, which `kshot.train` gives a layer that can learn.

    Args:
        data: whatever `kshot.load_data` takes, or paths of clips; all that one call works on.
        known: clips that are drawn, although they may have been written before there was a mark.

    Raises:
        DataError: ready-made features beside clips, or beside features of another network.
    """
    data = tuple(datasets.load(part) if isinstance(part, str | Path) else part for part in data)
    widths = [part.channels if isinstance(part, Dataset) else None for part in data]
    if any(widths):
        if len(set(widths)) > 1:
            raise DataError("ready-made features stand beside clips, or features of another network: take them apart")
        return Default(f"features:{widths[0]}")
    total, count, drawn = 0, 0, (Path(), False)
    for path in (path for part in data for path in _paths(part)):
        if path != drawn[0]:  # parts of one video stand together
            drawn = path, path in known or is_drawn(path)
        total += 1
        count += drawn[1]
    if count == total:
        return Default(BUNDLED)
    if not count:
        return Default(REAL)
    return Default(
        REAL,
        (
            f"{count:,} of the {total:,} clips are drawn and the others are not: backbone {REAL}, as {BUNDLED} "
            f"knows drawn figures only",
        ),
    )


def settled(data: Dataset, backbone: T | None) -> tuple[Dataset, T | str]:
    """The data and their backbone: the one that is named, else the default; a mixture is a note of the data.

    Args:
        data: all clips of a call, not only those of the split that it works on.
        backbone: the one that is named; None for none.
    """
    if backbone is not None:
        return data, backbone
    name, notes = default_backbone(data)
    return noted(data, notes), name


def noted(data: Dataset, notes: Sequence[str]) -> Dataset:
    """The data with further notes."""
    return data.changed(notes=(*data.notes, *notes)) if notes else data


def _paths(part: Any) -> Iterator[Path]:
    return iter(part.paths if isinstance(part, Dataset) else part)
