"""What is found of a benchmark in the archives and folders that were given, and whether it is all of it."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import kshot
from kshot.datasets import archives, lists
from kshot.datasets.benchmark import SPLITS, Benchmark, contradiction, digest
from kshot.datasets.folder import is_hidden
from kshot.errors import DataError
from kshot.files import disk, write_atomic
from kshot.progress import Progress
from kshot.video.container import SUFFIXES

FORMAT = 1
DEPTH = 3  # archives inside archives that are opened
JOURNAL = "done.jsonl"


@dataclass(frozen=True)
class FoundClip:
    """A clip that is there.

    Attributes:
        path: as in the CSV: relative to the folder, or absolute.
        bytes: its size.
        label: its class as the owners write it.
        group: its source.
    """

    path: str
    bytes: int
    label: str
    group: str


@dataclass(frozen=True)
class Inventory:
    """What of a benchmark is there.

    Attributes:
        benchmark: its name.
        sources: where it was searched for.
        digests: split -> sha256 of the published list; None where file names alone say what belongs to it.
        expected: split -> label, as readable text -> clips, as published.
        found: clips that are there.
        missing: split -> names of clips that are not there; without a list, how many each class lacks.
        notes: sentences on what was passed over.
    """

    benchmark: str
    sources: list[str]
    digests: dict[str, str] | None
    expected: dict[str, dict[str, int]]
    found: int
    missing: dict[str, list[str]]
    notes: list[str]

    def plain(self) -> dict[str, Any]:
        """As `prepared.json` holds it, without its seal."""
        made = {"format": FORMAT, "version": kshot.__version__, "date": datetime.date.today().isoformat()}
        return made | {"list" if name == "digests" else name: value for name, value in asdict(self).items()}


def broken(path: Path, size: int) -> str:
    """What is wrong with a clip of which this size is remembered; "" if nothing."""
    try:
        found = path.stat().st_size
    except OSError as error:
        return error.strerror or "cannot be opened"
    return "" if found == size else f"has {found} bytes, had {size}"


class Lacking(DataError):
    """Clips are missing: what was unpacked is worth keeping, for --allow-missing or more archives."""


class Gathered:
    """The clips of a benchmark that were found so far, in folders or unpacked from archives."""

    def __init__(
        self, bench: Benchmark, listed: lists.Listed | None, work: Path, folder: Path, progress: Progress
    ) -> None:
        self.bench, self.listed, self.work, self.folder, self.progress = bench, listed, work, folder, progress
        self.found: dict[str, FoundClip] = {}
        self.foreign: list[str] = []  # the first few videos that are not of the benchmark
        self.foreign_count = 0
        self.others: Counter[str] = Counter()  # suffix -> files that are no videos
        self._by_key = {bench.key(clip): clip for clip in listed or ()}
        self._parts = work / "unpacking" / "parts"
        self._unpacked = 0
        self._done = self._journal()
        self._prune()

    def add(self, path: Path) -> None:
        """Takes what is wanted from an archive, or from a folder and the archives in it."""
        if not path.exists():
            raise DataError(f"{path}: no such file or folder: give what you downloaded with --from")
        if path.is_dir():
            self._add_folder(path)
        else:
            self._add_archive(path)

    def _add_folder(self, root: Path) -> None:
        seen: set[Path] = set()
        for folder, folders, files in os.walk(root, onerror=_cannot_walk):
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            for name in sorted(name for name in files if not is_hidden(name)):
                path = Path(folder, name)
                if path in seen:
                    continue
                if archives.is_archive(path):
                    seen.update(archives.whole(path))
                    self._add_archive(path)
                elif clip := self._wanted(_named(path), path):
                    self._keep(*clip, os.fspath(path.absolute()), path.stat().st_size, _named(path))

    def _add_archive(self, path: Path) -> None:
        """Unpacks an archive, and those inside it, once."""
        stat = path.stat()
        mark = [os.fspath(path.absolute()), stat.st_size, stat.st_mtime_ns]
        before = dict(self.found)
        if json.dumps(mark) in self._done:
            for clip, found in self._done[json.dumps(mark)].items():
                self._keep(clip, found.label, found.group, found.path, found.bytes, PurePosixPath(found.path))
            return
        try:
            self._unpack(path, DEPTH)
        except BaseException:
            for clip in self.found.keys() - before.keys():
                found = self.found.pop(clip)
                if not os.path.isabs(found.path):
                    (self.work / found.path).unlink(missing_ok=True)
            raise
        fresh = {clip: asdict(found) for clip, found in self.found.items() if clip not in before}
        if fresh:
            with disk(self.work), (self.work / JOURNAL).open("a", encoding="utf-8") as file:
                file.write("\n" + json.dumps({"archive": mark, "found": fresh}) + "\n")

    def add_parts(self) -> None:
        """Unpacks archives whose parts lay in archives of their own, now that all are there."""
        for path in sorted(self._parts.iterdir()) if self._parts.exists() else []:
            if path == archives.whole(path)[0]:
                self._unpack(path, DEPTH)

    def _unpack(self, path: Path, depth: int) -> None:
        if depth == 0:
            raise DataError(f"{path}: archives inside archives, more than {DEPTH} deep: refused")
        self._unpacked += 1
        inner = self.work / "unpacking" / str(self._unpacked)
        sizes: dict[str, tuple[str, str, str, int]] = {}

        def take(name: PurePosixPath, size: int) -> Path | None:
            if archives.is_part(name):
                return self._parts / name.name
            if archives.is_archive(name):
                return inner / name
            if any(map(is_hidden, name.parts)):  # such as __MACOSX/._clip.avi, which is no video
                return None
            if not (clip := self._wanted(name, path)):
                return None
            own, label, group = clip
            target = f"clips/{own}{name.suffix.lower()}"
            if own in self.found or own in sizes:
                self._same(own, self.found[own].bytes if own in self.found else sizes[own][3], size, name)
                return None
            sizes[own] = (label, group, target, size)
            return self.work / target

        archives.unpack(path, take, self.work / "unpacking", progress=self.progress)
        for clip, (label, group, target, _) in sizes.items():
            self._keep(clip, label, group, target, (self.work / target).stat().st_size, PurePosixPath(target))
        for nested in sorted(file for file in inner.rglob("*") if file.is_file()):
            self._unpack(nested, depth - 1)
            nested.unlink()

    def _wanted(self, name: PurePosixPath, source: Path) -> tuple[str, str, str] | None:
        """id, label and group of the clip that a file's name tells of, if it belongs to the benchmark."""
        if name.suffix.lower() not in SUFFIXES:
            self.others.update([] if name.name.startswith(".") else [name.suffix.lower() or "without suffix"])
            return None
        clip = self.bench.read(name)
        if clip is None:
            self._note_foreign(name)
            return None
        if self.listed is None:
            return clip.id, clip.label, clip.group
        own = self._by_key.get(self.bench.key(clip.id))
        short = len(self.bench.key(clip.id))
        if own is None or (own != clip.id and len(own) > short and len(clip.id) > short):
            self._note_foreign(name)
            return None
        label = self.listed[own][0]
        said = self.bench.label(clip.label)
        if said not in (None, label):
            raise contradiction(name, f"its folder says '{said}'", f"the list says '{label}'")
        return own, label, clip.group

    def _note_foreign(self, name: PurePosixPath) -> None:
        self.foreign_count += 1
        if len(self.foreign) < 3:
            self.foreign.append(str(name))

    def _keep(self, clip: str, label: str, group: str, path: str, size: int, name: PurePosixPath) -> None:
        if clip in self.found:
            self._same(clip, self.found[clip].bytes, size, name)
        else:
            self.found[clip] = FoundClip(path, size, label, group)

    def _same(self, clip: str, first: int, second: int, name: PurePosixPath) -> None:
        if first != second:
            raise DataError(
                f"{name}: clip '{clip}' was found before with {first:,} bytes, here it has {second:,}: two copies of "
                f"{self.bench.title} are mixed; give one"
            )

    def inventory(self, sources: Sequence[Path], allow_missing: bool) -> Inventory:
        """What is there and what is not.

        Args:
            sources: where it was searched for.
            allow_missing: whether some of it may be missing.

        Raises:
            DataError: nothing, too little without leave, or clips that the benchmark does not have.
        """
        try:
            return self._inventory(sources, allow_missing)
        except Lacking:
            raise
        except DataError:
            (self.work / JOURNAL).unlink(missing_ok=True)  # it is not the benchmark: worth nothing
            raise

    def _inventory(self, sources: Sequence[Path], allow_missing: bool) -> Inventory:
        bench = self.bench
        if not self.found:
            others = ", ".join(self.foreign) or "no video at all"
            raise DataError(
                f"{', '.join(map(str, sources))}: no clip of {bench.title} in it, found {others}: "
                f"expected {bench.videos}"
            )
        expected = self._expected()
        missing = {split: self._missing(split, expected[split]) for split in SPLITS}
        clips = {split: sum(counts.values()) for split, counts in expected.items()}
        total = sum(clips.values())
        lacking = total - len(self.found)
        self._check_names(expected, missing)
        if lacking and not allow_missing:
            few = [name for split in SPLITS for name in missing[split]]
            more = f" and {len(few) - 3} more" if len(few) > 3 else ""
            raise Lacking(
                f"{bench.title}: {lacking:,} of {total:,} clips are missing from {', '.join(map(str, sources))}: "
                f"{'; '.join(few[:3])}{more}: give all archives, or --allow-missing to go on without them, which every "
                f"result will say"
            )
        return Inventory(
            benchmark=bench.name,
            sources=[str(path.absolute()) for path in sources],
            digests=dict(bench.digests) if self.listed is not None else None,
            expected={
                split: {bench.readable(label): count for label, count in counts.items()}
                for split, counts in expected.items()
            },
            found=len(self.found),
            missing=missing,
            notes=self._notes(),
        )

    def _notes(self) -> list[str]:
        """What was passed over; archives that a stopped run had unpacked are not read again, nor counted."""
        notes = []
        if self.foreign_count:
            count, few = self.foreign_count, ", ".join(self.foreign)
            more = ", ..." if count > len(self.foreign) else ""
            notes.append(f"{count:,} video{'s' * (count > 1)}, none of {self.bench.title}'s, passed over: {few}{more}")
        if count := self.others.total():
            kinds = ", ".join(f"{suffix} {number:,}" for suffix, number in self.others.most_common(5))
            notes.append(f"{count:,} file{'s' * (count > 1)}, no video{'s' * (count > 1)}, passed over: {kinds}")
        return notes

    def _expected(self) -> dict[str, dict[str, int]]:
        """Split -> label -> number of clips published."""
        bench = self.bench
        if self.listed is None:
            assert bench.counts is not None
            return {split: {label: bench.counts[label] for label in bench.classes[split]} for split in SPLITS}
        counts = Counter(label for label, _ in self.listed.values())
        return {split: {label: counts[label] for label in bench.classes[split]} for split in SPLITS}

    def _missing(self, split: str, expected: Mapping[str, int]) -> list[str]:
        """Names of the missing clips by the list; without one, how many each class lacks."""
        if self.listed is not None:
            return sorted(c for c, (_, part) in self.listed.items() if part == split and c not in self.found)
        there = Counter(found.label for found in self.found.values())
        return [
            f"{label}: {count - there[label]} of {count} clips"
            for label, count in expected.items()
            if there[label] < count
        ]

    def _check_names(self, expected: Mapping[str, Mapping[str, int]], missing: Mapping[str, list[str]]) -> None:
        """Without a list: refuses clips beyond the published number, and a whole split with other names."""
        if self.listed is not None:
            return
        there = Counter(found.label for found in self.found.values())
        for split in SPLITS:
            for label, count in expected[split].items():
                if there[label] > count:
                    raise DataError(
                        f"{self.bench.title}: class '{label}' has {there[label]} clips, the published set {count}: "
                        f"something else is mixed in; give the original archive or its unpacked folder"
                    )
            own = [(found.label, clip) for clip, found in self.found.items() if found.label in expected[split]]
            if not missing[split] and digest(own) != self.bench.digests[split]:
                raise DataError(
                    f"{self.bench.title}: split {split} has the published number of clips, but other names: files were "
                    f"renamed; give the original archive, or use the folder as a data set of your own"
                )

    def write(self) -> None:
        """The CSVs, in an order that does not depend on where clips came from."""
        split_of = self.bench.split_of
        order = sorted(self.found, key=lambda clip: (SPLITS.index(split_of[self.found[clip].label]), clip))
        texts = {"clips.csv": self.bench.readable}
        if self.bench.published:
            texts["clips-published.csv"] = self.bench.published
        if self.bench.rewords:
            texts["clips-spelled.csv"] = str
        for name, text in texts.items():
            rows = io.StringIO()
            writer = csv.writer(rows, lineterminator="\n")
            writer.writerow(("path", "label", "split", "group", "bytes"))
            for clip in order:
                found = self.found[clip]
                writer.writerow((found.path, text(found.label), split_of[found.label], found.group, found.bytes))
            with disk(self.work):
                write_atomic(self.work / name, rows.getvalue().encode())

    def _journal(self) -> dict[str, dict[str, FoundClip]]:
        """What a run that was stopped had unpacked whole: archive -> its clips, where they are still there."""
        done: dict[str, dict[str, FoundClip]] = {}
        try:
            text = (self.work / JOURNAL).read_text("utf-8")
        except OSError:
            return done
        for line in text.splitlines():
            try:
                row = json.loads(line)
                found = {clip: FoundClip(**values) for clip, values in row["found"].items()}
            except (ValueError, KeyError, TypeError):
                continue
            if all(not broken(self.work / each.path, each.bytes) for each in found.values()):
                done[json.dumps(row["archive"])] = found
        return done

    def _prune(self) -> None:
        """Removes what a killed run left of archives that were not unpacked whole."""
        whole = {os.path.normpath(self.work / found.path) for done in self._done.values() for found in done.values()}
        for folder, _, files in os.walk(self.work / "clips"):
            for name in files:
                if os.path.join(folder, name) not in whole:
                    os.unlink(os.path.join(folder, name))


def _named(path: Path) -> PurePosixPath:
    """A file's own name and its folder's, which is what tells of a clip."""
    return PurePosixPath(path.absolute().parent.name, path.name)


def _cannot_walk(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be read: {error.strerror}")
