"""Benchmarks made ready: `prepare` turns archives or folders into a folder with a CSV, `verify` counts what is there.

    DIR/clips.csv            path,label,split,group,bytes; labels as readable text
    DIR/clips-published.csv  the same with the texts that published code prompts with, where they differ
    DIR/prepared.json        what was expected and found, and what is missing; written last
    DIR/clips/               what was unpacked; clips of a folder that was given stay where they are

While it is made the folder is called DIR.partial. What whole archives gave is kept there after a stop, so that the same
command goes on; nothing else is left of a failure.
"""

from __future__ import annotations

import csv
import datetime
import fcntl
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import kshot
from kshot.datasets import BENCHMARKS, archives, lists
from kshot.datasets.benchmark import SPLITS, Benchmark, benchmark, contradiction, digest
from kshot.errors import DataError, OptionError, unknown
from kshot.paths import home
from kshot.progress import Progress, quiet
from kshot.store import disk, write_atomic
from kshot.video import SUFFIXES

FORMAT = 1
DEPTH = 3  # archives inside archives that are opened
JOURNAL = "done.jsonl"
TEXTS = ("readable", "published")


@dataclass(frozen=True)
class Found:
    """A clip that is there: path as in the CSV (relative to the folder, or absolute), and its size."""

    path: str
    bytes: int
    label: str
    group: str


def place(name: str) -> Path:
    """Where a benchmark is looked for: a folder, or a link to the one that `--out` named."""
    return home() / "data" / name


def find(name: str, text: str = "") -> Path:
    """The CSV of a prepared benchmark.

    Args:
        name: of a benchmark.
        text: which class texts: "readable" (as is ""), or "published" where these differ.

    Raises:
        DataError: it was not prepared. OptionError: no such text.
    """
    bench, folder = benchmark(name), place(name)
    known = TEXTS if bench.published else TEXTS[:1]
    if text and text not in known:
        raise unknown(f"class text of {name}", text, known)
    if not (folder / "prepared.json").exists():
        raise DataError(f"{name} is not prepared on this machine: {how(bench)}")
    return folder / ("clips-published.csv" if text == "published" else "clips.csv")


def missing_beside(table: Path) -> dict[str, tuple[str, ...]]:
    """Split -> clips that a prepared benchmark lacks, for its CSV; empty for any other CSV."""
    if not (table.parent / "prepared.json").exists():
        return {}
    return {split: tuple(names) for split, names in _read(table.parent)["missing"].items() if names}


def how(bench: Benchmark) -> str:
    """One line on how to prepare a benchmark."""
    takes = " --download" if bench.lists else ""
    return f"get {bench.videos}, then `kshot data prepare {bench.name} --from PATH{takes}`"


def known() -> dict[str, Any]:
    """What `kshot data list` prints: every benchmark with its split, source and state."""
    return {"benchmarks": [_about(benchmark(name)) for name in BENCHMARKS]}


def _about(bench: Benchmark) -> dict[str, Any]:
    folder = place(bench.name)
    report = _read(folder) if (folder / "prepared.json").exists() else None
    return {
        "name": bench.name,
        "title": bench.title,
        "classes": {split: len(bench.classes[split]) for split in SPLITS},
        "clips": dict(bench.clips),
        "split": bench.source,
        "list": _parent(bench) if bench.lists else "file names",
        "videos": bench.videos,
        "prepared": str(folder.resolve()) if report else None,
        "missing": sum(len(names) for names in report["missing"].values()) if report else None,
    }


def _parent(bench: Benchmark) -> str:
    return next(iter(bench.lists.values())).rsplit("/", 1)[0]


def prepare(
    name: str,
    source: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    clip_list: Sequence[str | Path] = (),
    download: bool = False,
    allow_missing: bool = False,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Makes a benchmark a data set that every command finds by its name.

    Args:
        name: of a benchmark, see `kshot.datasets.benchmark.BENCHMARKS`.
        source: what was downloaded: archives, or folders of archives or of clips, in any depth.
        out: the folder to make; `$KSHOT_HOME/data/NAME` by default, where otherwise a link to it is left.
        clip_list: files of the published list, for a benchmark that has one; see `kshot.datasets.lists.read`.
        download: fetch the list from its public place. Nothing else is ever fetched.
        allow_missing: go on without clips that are not there; every result will name them.
        progress: how to show it.

    Returns:
        What `DIR/prepared.json` holds, with `folder` and `new`, which is False where it was prepared before.

    Raises:
        DataError: a source or list is not what it should be, or clips are missing.
        OptionError: arguments that do not go together.
        StoreError: the disk refuses.
    """
    bench = benchmark(name)
    folder = (Path(out) if out is not None else place(name)).absolute()
    sources = [Path(path) for path in ([source] if isinstance(source, str | Path) else source)]
    _check_arguments(bench, sources, clip_list, download)
    for there in (place(name), folder):
        if (there / "prepared.json").exists():
            report = _read(there)
            if report["benchmark"] != name:
                raise OptionError(f"--out {there} holds {report['benchmark']}: name another folder")
            _link(name, there)
            return report | {"folder": str(there.resolve()), "new": False}
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise OptionError(f"--out {folder} exists and is no prepared {name}: name another folder")
    files = [Path(file) for file in clip_list]
    if download:
        files = lists.fetch(bench, progress)
    listed = lists.read(bench, files) if files else None
    with _working(folder) as work:
        gathered = _Gathered(bench, listed, work, folder, progress)
        for path in sources:
            gathered.add(path)
        gathered.add_parts()
        report = gathered.report(sources, allow_missing)
        gathered.write()
        with disk(folder):
            write_atomic(work / "prepared.json", json.dumps(report, indent=1).encode())
            for scrap in (JOURNAL, "lock"):
                (work / scrap).unlink(missing_ok=True)
            shutil.rmtree(work / "unpacking", ignore_errors=True)
            if folder.is_symlink():
                folder.unlink()
            elif folder.exists():
                folder.rmdir()
            os.replace(work, folder)
    _link(name, folder)
    return report | {"folder": str(folder), "new": True}


def verify(name: str) -> dict[str, Any]:
    """Counts a prepared benchmark's clips against what was published.

    Args:
        name: a benchmark, or the folder of a prepared one.

    Returns:
        splits: split -> classes, classes_found, clips, clips_found; missing: split -> names of clips that were never
        there; lost: clips whose file is gone or has another size since; folder, benchmark.

    Raises:
        DataError: it was not prepared, or its files are damaged.
    """
    folder = place(name) if name in BENCHMARKS else Path(name)
    if not (folder / "prepared.json").exists():
        if name in BENCHMARKS:
            raise DataError(f"{name} is not prepared on this machine: {how(benchmark(name))}")
        raise unknown("benchmark", name, BENCHMARKS)
    report = _read(folder)
    counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    lost: dict[str, str] = {}
    try:
        with (folder / "clips.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                fault = _fault(folder / row["path"], int(row["bytes"]))
                if fault:
                    lost[row["path"]] = fault
                else:
                    counts[row["split"]][row["label"]] += 1
        if len(lost) + sum(count.total() for count in counts.values()) != report["found"]:
            raise ValueError(f"rows are gone, {report['found']:,} expected")
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{folder / 'clips.csv'} is damaged ({error}): remove {folder} and prepare it again") from None
    splits = {
        split: {
            "classes": len(report["expected"][split]),
            "classes_found": len(counts[split]),
            "clips": sum(report["expected"][split].values()),
            "clips_found": counts[split].total(),
        }
        for split in SPLITS
    }
    shown = {"benchmark": report["benchmark"], "folder": str(folder.resolve()), "splits": splits}
    return shown | {"missing": report["missing"], "lost": lost}


def _fault(path: Path, size: int) -> str:
    try:
        found = path.stat().st_size
    except OSError as error:
        return error.strerror or "cannot be opened"
    return "" if found == size else f"has {found} bytes, had {size}"


class _Gathered:
    """The clips of a benchmark that were found so far, in folders or unpacked from archives."""

    def __init__(
        self, bench: Benchmark, listed: lists.Listed | None, work: Path, folder: Path, progress: Progress
    ) -> None:
        self.bench, self.listed, self.work, self.folder, self.progress = bench, listed, work, folder, progress
        self.found: dict[str, Found] = {}
        self.strangers: list[str] = []
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
            folders.sort()
            for name in sorted(files):
                path = Path(folder, name)
                if path in seen:
                    continue
                if archives.is_archive(path):
                    seen.update(archives.whole(path))
                    self._add_archive(path)
                elif path.suffix.lower() in SUFFIXES and (clip := self._wanted(_named(path), path)):
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
            if name.suffix.lower() not in SUFFIXES or not (clip := self._wanted(name, path)):
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
        clip = self.bench.read(name)
        if clip is None:
            self._strange(name)
            return None
        if self.listed is None:
            return clip.id, clip.label, clip.group
        own = self._by_key.get(self.bench.key(clip.id))
        short = len(self.bench.key(clip.id))
        if own is None or (own != clip.id and len(own) > short and len(clip.id) > short):
            self._strange(name)
            return None
        label = self.listed[own][0]
        said = self.bench.label(clip.label)
        if said not in (None, label):
            raise contradiction(name, f"its folder says '{said}'", f"the list says '{label}'")
        return own, label, clip.group

    def _strange(self, name: PurePosixPath) -> None:
        if len(self.strangers) < 3:
            self.strangers.append(str(name))

    def _keep(self, clip: str, label: str, group: str, path: str, size: int, name: PurePosixPath) -> None:
        if clip in self.found:
            self._same(clip, self.found[clip].bytes, size, name)
        else:
            self.found[clip] = Found(path, size, label, group)

    def _same(self, clip: str, first: int, second: int, name: PurePosixPath) -> None:
        if first != second:
            raise DataError(
                f"{name}: clip '{clip}' was found before with {first:,} bytes, here it has {second:,}: two copies of "
                f"{self.bench.title} are mixed; give one"
            )

    def report(self, sources: Sequence[Path], allow_missing: bool) -> dict[str, Any]:
        """What is there and what is not.

        Raises:
            DataError: nothing, too little without leave, or clips that the benchmark does not have.
        """
        try:
            return self._report(sources, allow_missing)
        except _Lacking:
            raise
        except DataError:
            (self.work / JOURNAL).unlink(missing_ok=True)  # it is not the benchmark: worth nothing
            raise

    def _report(self, sources: Sequence[Path], allow_missing: bool) -> dict[str, Any]:
        bench = self.bench
        if not self.found:
            others = ", ".join(self.strangers) or "no video at all"
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
            raise _Lacking(
                f"{bench.title}: {lacking:,} of {total:,} clips are missing from {', '.join(map(str, sources))}: "
                f"{'; '.join(few[:3])}{more}: give all archives, or --allow-missing to go on without them, which every "
                f"result will say"
            )
        return {
            "format": FORMAT,
            "version": kshot.__version__,
            "date": datetime.date.today().isoformat(),
            "benchmark": bench.name,
            "sources": [str(path.absolute()) for path in sources],
            "list": dict(bench.digests) if self.listed is not None else None,
            "expected": {
                split: {bench.readable(label): count for label, count in counts.items()}
                for split, counts in expected.items()
            },
            "found": len(self.found),
            "missing": missing,
        }

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
        for name, text in texts.items():
            rows = io.StringIO()
            writer = csv.writer(rows, lineterminator="\n")
            writer.writerow(("path", "label", "split", "group", "bytes"))
            for clip in order:
                found = self.found[clip]
                writer.writerow((found.path, text(found.label), split_of[found.label], found.group, found.bytes))
            with disk(self.work):
                write_atomic(self.work / name, rows.getvalue().encode())

    def _journal(self) -> dict[str, dict[str, Found]]:
        """What a run that was stopped had unpacked whole: archive -> its clips, where they are still there."""
        done: dict[str, dict[str, Found]] = {}
        try:
            text = (self.work / JOURNAL).read_text("utf-8")
        except OSError:
            return done
        for line in text.splitlines():
            try:
                row = json.loads(line)
                found = {clip: Found(**values) for clip, values in row["found"].items()}
            except (ValueError, KeyError, TypeError):
                continue
            if all(not _fault(self.work / each.path, each.bytes) for each in found.values()):
                done[json.dumps(row["archive"])] = found
        return done

    def _prune(self) -> None:
        """Removes what a killed run left of archives that were not unpacked whole."""
        whole = {os.path.normpath(self.work / found.path) for done in self._done.values() for found in done.values()}
        for folder, _, files in os.walk(self.work / "clips"):
            for name in files:
                if os.path.join(folder, name) not in whole:
                    os.unlink(os.path.join(folder, name))


class _Lacking(DataError):
    """Clips are missing: what was unpacked is worth keeping, for --allow-missing or more archives."""


@contextmanager
def _working(folder: Path) -> Iterator[Path]:
    """The folder `X.partial` while `X` is made; afterwards it is gone, unless it holds whole archives' clips."""
    work = folder.with_name(f"{folder.name}.partial")
    with disk(work):
        work.mkdir(parents=True, exist_ok=True)
        lock = (work / "lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError(f"{work}: another process is preparing it; wait for that") from None
        shutil.rmtree(work / "unpacking", ignore_errors=True)  # what a kill left
        try:
            yield work
        except BaseException as error:
            shutil.rmtree(work / "unpacking", ignore_errors=True)
            if not (work / JOURNAL).exists():
                shutil.rmtree(work, ignore_errors=True)
            elif isinstance(error, _Lacking):
                error.args = (f"{error} (what was unpacked is kept in {work})",)
            raise


def _link(name: str, folder: Path) -> None:
    """Lets a benchmark be found by its name where it lies elsewhere."""
    link = place(name)
    if (link / "prepared.json").exists():
        return
    with disk(link):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(folder.absolute(), target_is_directory=True)


def _named(path: Path) -> PurePosixPath:
    """A file's own name and its folder's, which is what tells of a clip."""
    return PurePosixPath(path.absolute().parent.name, path.name)


def _cannot_walk(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be read: {error.strerror}")


def _check_arguments(bench: Benchmark, sources: Sequence[Path], files: Sequence[str | Path], download: bool) -> None:
    if not sources:
        raise OptionError(f"nothing to prepare {bench.name} from: name an archive or folder with --from")
    if files and download:
        raise OptionError("expected either --list or --download, found both")
    if bench.lists and not files and not download:
        raise OptionError(
            f"{bench.title} needs its list of clips: give its files with --list, or --download to fetch it from "
            f"{_parent(bench)}"
        )


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "prepared.json"
    try:
        report: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if report["format"] != FORMAT:
            raise ValueError(f"format {report['format']}, expected {FORMAT}")
        _ = report["benchmark"], report["expected"], report["missing"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}): remove {folder} and prepare it again") from None
    return report
