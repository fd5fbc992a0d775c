"""Published lists of clips: read from files in any of the forms that go round, or fetched, and checked by content.

What is pinned is the sha256 of a list's content (`benchmark.digest`), so the same list passes in every file format and
order, and another one never does.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.error import URLError
from urllib.parse import urlsplit

from kshot import gate
from kshot.datasets.benchmark import SPLITS, Benchmark, benchmark, digest
from kshot.datasets.registry import BENCHMARKS
from kshot.datasets.sheet import read_sheet
from kshot.errors import DataError, unknown
from kshot.files import disk, write_atomic
from kshot.paths import home
from kshot.progress import Progress, quiet
from kshot.video.container import SUFFIXES

LARGEST = 64 << 20  # bytes that a list may have
TIMEOUT = 30.0  # seconds that its place may be silent

Listed = dict[str, tuple[str, str]]
"""id of a clip -> its label and split."""


def read_lists(bench: Benchmark, files: Sequence[Path]) -> Listed:
    """The clips of a benchmark by its list.

    Args:
        bench: the benchmark.
        files: one for each split, named after it (`trainlist03.txt`, `ssv2_full_val.csv`), each a CSV with the columns
            `path,label` or lines `class/clip`, `train12/clip`; or one CSV with a column `split`.

    Raises:
        DataError: unreadable, an unknown class, a class or clip in two splits, or a list that is not the published one.
    """
    rows: list[tuple[str, str, str, str]] = []  # id, label, split, place
    for file in files:
        rows += _rows(bench, file)
    listed: Listed = {}
    split_of: dict[str, tuple[str, str]] = {}
    for clip, label, split, place in rows:
        first, at = split_of.setdefault(label, (split, place))
        if first != split:
            raise DataError(f"{place}: class '{label}' is in split '{split}', but in '{first}' at {at}")
        if clip in listed:
            raise DataError(f"{place}: clip '{clip}' is listed twice")
        if bench.split_of[label] != split:
            raise DataError(
                f"{place}: class '{label}' is in split '{split}', but {bench.title} has it in '{bench.split_of[label]}'"
            )
        listed[clip] = (label, split)
    _check(bench, listed, files)
    return listed


def fetch(bench: Benchmark, progress: Progress = quiet) -> list[Path]:
    """The files of a benchmark's list, downloaded from their public places where they are not here yet.

    Raises:
        DataError: a place cannot be reached, or its file is not the published list.
    """
    if not bench.lists:
        raise DataError(f"{bench.title} needs no list: its file names say which clips belong to it")
    folder = home() / "lists" / bench.name
    files = {split: folder / f"{split}{PurePosixPath(urlsplit(url).path).suffix}" for split, url in bench.lists.items()}
    with progress(f"fetching the list of {bench.title}", len(files), "files") as step:
        for split, file in files.items():
            if not file.exists():
                data = _download(bench.lists[split])
                with disk(file):
                    folder.mkdir(parents=True, exist_ok=True)
                    write_atomic(file, data)
            step()
    try:
        read_lists(bench, list(files.values()))
    except DataError as error:
        for file in files.values():
            file.unlink(missing_ok=True)
        raise DataError(f"fetched from {_parent(bench.lists)}: {error}") from None
    return list(files.values())


def _parent(lists: Mapping[str, str]) -> str:
    return next(iter(lists.values())).rsplit("/", 1)[0]


def _download(url: str) -> bytes:
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=TIMEOUT) as answer:
            data: bytes = answer.read(LARGEST + 1)
    except (URLError, OSError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise DataError(f"{url} cannot be fetched ({why}): get it by hand and give it with --list") from None
    if len(data) > LARGEST:
        raise DataError(f"{url} has more than {LARGEST >> 20} MB: it is not the list")
    return data


def _rows(bench: Benchmark, file: Path) -> Iterator[tuple[str, str, str, str]]:
    """id, label, split and place of every line."""
    sheet = read_sheet(file, ("path", "label"))
    own = [split for split in SPLITS if split in file.name.lower()]
    table = {"path", "label"} <= {*sheet.header}
    if len(own) != 1 and not (table and "split" in sheet.header):
        raise DataError(
            f"{file}: which split is it? Expected train, val or test in its name, or a CSV with a column 'split'"
        )
    if table:
        for number, values in sheet.rows():
            place = f"{file}, line {number}"
            split = values.get("split") or (own[0] if len(own) == 1 else "")
            if split not in SPLITS:
                raise DataError(f"{place}: {unknown('split', split, SPLITS)}")
            if not values["path"] or not values["label"]:
                raise DataError(f"{place}: expected a path and a label, found {values['path']!r}, {values['label']!r}")
            yield _id(bench, values["path"].replace("\\", "/")), _label(bench, values["label"], place), split, place
    else:
        for number, line in enumerate(gate.read_text(file).splitlines(), 1):
            if clip := line.strip().replace("\\", "/"):
                place = f"{file}, line {number}"
                yield _id(bench, clip), _folder_label(bench, clip, own[0], place), own[0], place


def _id(bench: Benchmark, text: str) -> str:
    """A clip's id from its path in a list."""
    path = PurePosixPath(text)
    path = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
    clip = bench.read(path)
    return clip.id if clip else path.name


def _label(bench: Benchmark, text: str, place: str) -> str:
    found = bench.label(text)
    if found is None:
        others = [name for name in BENCHMARKS if name != bench.name and benchmark(name).label(text)]
        near = difflib.get_close_matches(text, bench.split_of, n=1)
        hint = f": did you mean '{near[0]}'?" if near else ""
        hint = f": {' and '.join(others)} has it, so this may be that list" if others else hint
        raise DataError(f"{place}: {bench.title} has no class '{text}'{hint}")
    return found


def _folder_label(bench: Benchmark, line: str, split: str, place: str) -> str:
    """The class in a line `class/clip`, where the class may be written as its number, `train12/clip`."""
    parents = [part for part in line.split("/")[:-1] if part]
    for part in reversed(parents):
        if found := bench.label(part):
            return found
    for part in parents:
        match = re.fullmatch(r"(train|val|test)(\d+)", part)
        if match and match[1] == split and int(match[2]) < len(bench.classes[split]):
            return bench.classes[split][int(match[2])]
    return _label(bench, "/".join(parents), place)


def _check(bench: Benchmark, listed: Listed, files: Sequence[Path]) -> None:
    """Refuses a list that does not hold what the published one holds."""
    for split in SPLITS:
        own = [str(file) for file in files if split in file.name.lower()] or list(map(str, files))
        if not any(part == split for _, part in listed.values()):
            given = ", ".join(map(str, files))
            raise DataError(f"{given}: no clip of split {split}: give the whole published list of {bench.title}")
        clips = [(label, clip) for clip, (label, part) in listed.items() if part == split]
        found = digest(clips)
        if found != bench.digests[split]:
            raise DataError(
                f"{', '.join(own)}: not the published list of {bench.title}: split {split} has {len(clips):,} clips, "
                f"sha256 {found[:16]}..., expected {bench.clips[split]:,}, sha256 {bench.digests[split][:16]}...; for "
                f"a list of your own write a CSV of path,label,split"
            )
