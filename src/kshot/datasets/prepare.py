"""Benchmarks made ready: `prepare` turns archives or folders into a folder with a CSV, `verify` counts what is there.

    DIR/clips.csv            path,label,split,group,bytes; labels as readable text
    DIR/clips-published.csv  the same with the texts that published code prompts with, where they differ
    DIR/clips-spelled.csv  the same with the labels as the owners spell them, where they differ
    DIR/prepared.json        what was expected and found, and what is missing; written last
    DIR/clips/               what was unpacked; clips of a folder that was given stay where they are

While it is made the folder is called DIR.partial. What whole archives gave is kept there after a stop, so that the same
command goes on; nothing else is left of a failure.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kshot import gate, seals
from kshot.datasets import lists
from kshot.datasets.benchmark import SPLITS, Benchmark, benchmark
from kshot.datasets.gather import FORMAT, JOURNAL, Gathered, Lacking, broken
from kshot.datasets.registry import BENCHMARKS
from kshot.errors import DataError, OptionError, unknown
from kshot.files import disk, locked, ours, write_atomic
from kshot.paths import home
from kshot.progress import Progress, quiet

TEXTS = ("readable", "published", "spelled")


@dataclass(frozen=True)
class PreparedBenchmark:
    """A benchmark that is ready.

    Attributes:
        benchmark: its name.
        folder: where it lies.
        found: clips that are there.
        expected: split -> label -> clips, as published.
        missing: split -> names of clips that are not there.
        file: all that `prepared.json` holds, as JSON.
        new: whether it was prepared just now.
    """

    benchmark: str
    folder: Path
    found: int
    expected: dict[str, dict[str, int]]
    missing: dict[str, list[str]]
    file: dict[str, Any]
    new: bool = False

    def report(self) -> dict[str, Any]:
        """What `kshot data prepare --json` prints."""
        return self.file | {"folder": str(self.folder), "new": self.new}


@dataclass(frozen=True)
class SplitCheck:
    """What of a split is there.

    Attributes:
        classes: as published.
        classes_found: of which there are clips.
        clips: as published.
        clips_found: that are there.
    """

    classes: int
    classes_found: int
    clips: int
    clips_found: int


@dataclass(frozen=True)
class BenchmarkCheck:
    """What of a prepared benchmark is there.

    Attributes:
        benchmark: its name.
        folder: where it lies.
        splits: split -> its counts.
        missing: split -> names of clips that were never there.
        lost: clip -> why it is lost: its file is gone or has another size since.
    """

    benchmark: str
    folder: str
    splits: dict[str, SplitCheck]
    missing: dict[str, list[str]]
    lost: dict[str, str]

    def report(self) -> dict[str, Any]:
        """What `kshot data verify --json` prints."""
        return asdict(self)


def place(name: str) -> Path:
    """Where a benchmark lies: a folder, or a link to the one that `--out` named."""
    return home() / "data" / name


def find(name: str, text: str = "") -> Path:
    """The CSV of a prepared benchmark.

    Args:
        name: of a benchmark.
        text: which class texts: "readable" (as is ""), or "published" or "spelled" (as the owners spell labels) where
            these differ.

    Raises:
        DataError: it was not prepared, or by a version that did not write these texts.
        OptionError: no such text.
    """
    bench, folder = benchmark(name), place(name)
    there = {"readable": True, "published": bool(bench.published), "spelled": bench.rewords}
    known = [one for one in TEXTS if there[one]]
    if text and text not in known:
        raise unknown(f"class text of {name}", text, known)
    if not (folder / "prepared.json").exists():
        raise DataError(f"{name} is not prepared on this machine: {how(bench)}")
    table = folder / ("clips.csv" if text in ("", "readable") else f"clips-{text}.csv")
    if not table.exists():
        raise DataError(f"{table} is not there: {name} was prepared by an older version; {how(bench)} again")
    return table


def missing_beside(table: Path) -> dict[str, tuple[str, ...]]:
    """Split -> clips that a prepared benchmark lacks, for its CSV; empty for any other CSV."""
    if not (table.parent / "prepared.json").exists():
        return {}
    return {split: tuple(names) for split, names in _read(table.parent).missing.items() if names}


def how(bench: Benchmark) -> str:
    """One line on how to prepare a benchmark."""
    takes = " --download" if bench.lists else ""
    return f"get {bench.videos}, then `kshot data prepare {bench.name} --from PATH{takes}`"


def known() -> list[dict[str, Any]]:
    """What `kshot data list` prints of every benchmark: its split, its source, and whether it is ready here."""
    return [_about(benchmark(name)) for name in BENCHMARKS]


def _about(bench: Benchmark) -> dict[str, Any]:
    folder = place(bench.name)
    there = _read(folder) if (folder / "prepared.json").exists() else None
    return {
        "name": bench.name,
        "title": bench.title,
        "classes": {split: len(bench.classes[split]) for split in SPLITS},
        "clips": dict(bench.clips),
        "split": bench.source,
        "list": _parent(bench) if bench.lists else "file names",
        "videos": bench.videos,
        "prepared": str(folder.resolve()) if there else None,
        "missing": sum(len(names) for names in there.missing.values()) if there else None,
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
) -> PreparedBenchmark:
    """Makes a benchmark a data set that every command finds by its name.

    Args:
        name: of a benchmark, see `kshot.datasets.benchmark.BENCHMARKS`.
        source: what was downloaded: archives, or folders of archives or of clips, in any depth.
        out: the folder to make; `$KSHOT_HOME/data/NAME` by default, where otherwise a link to it is left.
        clip_list: files of the published list, for a benchmark that has one; see `kshot.datasets.lists.read_lists`.
        download: fetch the list from its public place. Nothing else is ever fetched.
        allow_missing: go on without clips that are not there; every result will name them.
        progress: how to show it.

    Returns:
        What was found, and where it lies now.

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
            before = _read(there)
            if before.benchmark != name:
                raise OptionError(f"--out {there} holds {before.benchmark}: name another folder")
            _link(name, there)
            return replace(before, folder=there.resolve())
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise OptionError(f"--out {folder} exists and is no prepared {name}: name another folder")
    files = [Path(file) for file in clip_list]
    if download:
        files = lists.fetch(bench, progress)
    listed = lists.read_lists(bench, files) if files else None
    with _working(folder) as work:
        if (folder / "prepared.json").exists():
            raise DataError(f"another process has just prepared {folder}: run the same command again")
        gathered = Gathered(bench, listed, work, folder, progress)
        for path in sources:
            gathered.add(path)
        gathered.add_parts()
        found = gathered.inventory(sources, allow_missing)
        gathered.write()
        with disk(folder):
            about = seals.sealed(found.plain(), work, ("clips.csv", "clips-published.csv"))
            write_atomic(work / "prepared.json", json.dumps(about, indent=1).encode())
            for scrap in (JOURNAL, "lock"):  # an older version left a lock there
                (work / scrap).unlink(missing_ok=True)
            shutil.rmtree(work / "unpacking", ignore_errors=True)
            if folder.is_symlink():
                folder.unlink()
            elif folder.exists():
                folder.rmdir()
            ours(work)
            os.replace(work, folder)
    _link(name, folder)
    return PreparedBenchmark(name, folder, found.found, found.expected, found.missing, about, new=True)


def verify(name: str) -> BenchmarkCheck:
    """Counts a prepared benchmark's clips against what was published.

    Args:
        name: a benchmark, or the folder of a prepared one.

    Returns:
        What is there, and what was lost since it was prepared.

    Raises:
        DataError: it was not prepared, or its files are damaged.
    """
    folder = place(name) if name in BENCHMARKS else Path(name)
    if not (folder / "prepared.json").exists():
        if name in BENCHMARKS:
            raise DataError(f"{name} is not prepared on this machine: {how(benchmark(name))}")
        raise unknown("benchmark", name, BENCHMARKS)
    there = _read(folder)
    counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    lost: dict[str, str] = {}
    if faults := seals.faults(folder, there.file.get("files", {})):
        path, fault = next(iter(faults.items()))
        raise DataError(f"{path} is damaged ({fault}): remove {folder} and prepare it again")
    try:
        with (folder / "clips.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                fault = broken(folder / row["path"], int(row["bytes"]))
                if fault:
                    lost[row["path"]] = fault
                else:
                    counts[row["split"]][row["label"]] += 1
        if len(lost) + sum(count.total() for count in counts.values()) != there.found:
            raise ValueError(f"rows are gone, {there.found:,} expected")
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{folder / 'clips.csv'} is damaged ({error}): remove {folder} and prepare it again") from None
    splits = {
        split: SplitCheck(
            classes=len(there.expected[split]),
            classes_found=len(counts[split]),
            clips=sum(there.expected[split].values()),
            clips_found=counts[split].total(),
        )
        for split in SPLITS
    }
    return BenchmarkCheck(there.benchmark, str(folder.resolve()), splits, there.missing, lost)


@contextmanager
def _working(folder: Path) -> Iterator[Path]:
    """The folder `X.partial` while `X` is made; afterwards it is gone, unless it holds whole archives' clips."""
    work = folder.with_name(f"{folder.name}.partial")
    busy = DataError(f"{work}: another process is preparing it; wait for that")
    # The lock lies beside the folder, which gets another name in the end.
    with locked(work.parent, f".{work.name}.lock", busy):
        with disk(work):
            work.mkdir(exist_ok=True)
        shutil.rmtree(work / "unpacking", ignore_errors=True)  # what a kill left
        try:
            yield work
        except BaseException as error:
            shutil.rmtree(work / "unpacking", ignore_errors=True)
            if not (work / JOURNAL).exists():
                shutil.rmtree(work, ignore_errors=True)
            elif isinstance(error, Lacking):
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


def _read(folder: Path) -> PreparedBenchmark:
    """What `prepared.json` says.

    Raises:
        DataError: it is damaged, or of another format.
    """
    from kshot.datasets import forms

    path, again = folder / "prepared.json", f"remove {folder} and prepare it again"
    report: dict[str, Any] = seals.read_sealed(path, again=again)
    if report.get("format") != FORMAT:
        raise DataError(f"{path} is damaged (format {report.get('format')}, expected {FORMAT}): {again}")
    gate.typed(report, forms.PreparedFile, path)
    return PreparedBenchmark(
        report["benchmark"], folder, report["found"], report["expected"], report["missing"], report
    )
