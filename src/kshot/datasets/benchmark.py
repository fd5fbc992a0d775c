"""What a published few-shot benchmark is: its classes by split, how its clips are named, and what its list hashes to.

A benchmark is one file with one `Benchmark` and its line in `kshot.datasets.BENCHMARKS`. It is prepared once from what
its owners hand out (`kshot data prepare`), and is a data set by its name from then on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import PurePosixPath

from kshot.datasets.registry import BENCHMARKS
from kshot.errors import DataError, unknown

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ListedClip:
    """A clip of a benchmark, as its file's name tells.

    Attributes:
        id: its name in the published lists, less folders and suffix that differ between copies.
        label: its class as the owners write it, "" where a file's name does not tell.
        group: its source.
    """

    id: str
    label: str
    group: str


@dataclass(frozen=True)
class Benchmark:
    """A published class split of a published set of videos.

    Attributes:
        name: in commands.
        title: in print.
        source: who made the split, and where.
        videos: how to get them, one line.
        classes: split -> class labels as the owners write them, in the order of the published class numbers.
        clips: split -> number of clips in the published list.
        digests: split -> sha256 of the published list, see `digest`.
        read: the clip that a file's name tells of, None for a file of something else; raises ValueError for a name
            that contradicts itself.
        readable: label -> text for prompts.
        published: label -> text in the prompts of published code, None where it is the readable one.
        counts: label -> number of clips, where the file names alone say which clips belong to the set; None where it
            takes the list.
        lists: split -> address of the published list.
        key: the part of an id that all copies have in common.
    """

    name: str
    title: str
    source: str
    videos: str
    classes: Mapping[str, Sequence[str]]
    clips: Mapping[str, int]
    digests: Mapping[str, str]
    read: Callable[[PurePosixPath], ListedClip | None]
    readable: Callable[[str], str]
    published: Callable[[str], str] | None = None
    counts: Mapping[str, int] | None = None
    lists: Mapping[str, str] = field(default_factory=dict)
    key: Callable[[str], str] = str

    @property
    def rewords(self) -> bool:
        """Whether its readable class texts are other than the labels as the owners spell them."""
        return any(self.readable(label) != label for label in self.split_of)

    @cached_property
    def split_of(self) -> dict[str, str]:
        """Label -> split."""
        return {label: split for split, labels in self.classes.items() for label in labels}

    def sizes(self) -> dict[str, dict[str, int]]:
        """Split -> label -> clips in the published list; split evenly where only the number of all is known."""
        return {
            split: {
                label: self.counts[label] if self.counts else (self.clips[split] + number) // len(labels)
                for number, label in enumerate(labels)
            }
            for split, labels in self.classes.items()
        }

    def label(self, text: str) -> str | None:
        """The class that a folder's or a list's text means: blanks or underscores, brackets or none, any case."""
        return self._labels.get(text) or self._labels.get(plain(text))

    @cached_property
    def _labels(self) -> dict[str, str]:
        return {form: label for label in self.split_of for form in (label, plain(label))}


def benchmark(name: str) -> Benchmark:
    """The benchmark of a name.

    Raises:
        OptionError: no such name.
    """
    if name not in BENCHMARKS:
        raise unknown("benchmark", name, BENCHMARKS)
    module, _, attribute = BENCHMARKS[name].partition(":")
    found: Benchmark = getattr(import_module(module), attribute)
    return found


def digest(clips: Iterable[tuple[str, str]]) -> str:
    """sha256 of a list's content, (label, id) of each clip, whatever the order and the file format it came in.

    It is that of the sorted lines `label TAB id LF` in UTF-8.
    """
    lines = sorted(f"{label}\t{clip}\n" for label, clip in clips)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def plain(text: str) -> str:
    """A class text without what copies differ in."""
    return " ".join(re.sub(r"[_\[\]]", " ", text).lower().split())


def spaced(label: str) -> str:
    """`BlowDryHair` -> `Blow Dry Hair`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)


def table(text: str) -> dict[str, int]:
    """`walk 548, wave 104` as a dictionary."""
    pairs = (entry.rsplit(maxsplit=1) for entry in text.replace("\n", " ").split(","))
    return {name.strip(): int(count) for name, count in pairs}


def names(text: str) -> tuple[str, ...]:
    """The entries of a text, between commas."""
    return tuple(" ".join(entry.split()) for entry in text.split(","))


def lines(text: str) -> tuple[str, ...]:
    """The entries of a text, one a line."""
    return tuple(line.strip() for line in text.strip().splitlines())


def contradiction(path: PurePosixPath, found: str, expected: str) -> DataError:
    """The error for a file whose folder or list says another class than its name.

    Args:
        path: of the file.
        found: what says another class, as a clause.
        expected: what it is compared with, as a clause.
    """
    return DataError(f"{path}: {found}, but {expected}: the copy is not the published one; get it again")
