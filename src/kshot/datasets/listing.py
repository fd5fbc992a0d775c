"""Which clips a path without labels stands for: a video, a folder of frames, a folder of clips, or a table of paths."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

from kshot.datasets.folder import Passed, is_frames, is_video
from kshot.datasets.sheet import column, local_path, read_sheet
from kshot.datasets.spans import columns
from kshot.datasets.table import empty_rows
from kshot.errors import DataError
from kshot.excerpts import clip_of
from kshot.video.container import SUFFIXES
from kshot.video.frame_folder import is_image, natural


def clips_of(text: str) -> tuple[list[str], list[str]]:
    """The clips of a path, and sentences on what was passed over.

    Args:
        text: a video or frame folder, which stands for itself whether or not it exists; a folder with clips in it, at
            any depth; a CSV with a column `path`, or CSV?column=value for some of its rows; a pattern of such, as
            shells have it (`new/*.mp4`, `**/squat/*`), which not every shell resolves.

    Raises:
        DataError: a folder, table or pattern without clips, or one that cannot be read.
    """
    if not os.path.lexists(text) and not _is_table(text) and glob.has_magic(text):
        each = [clips_of(path) for path in _matching(text)]
        return [clip for clips, _ in each for clip in clips], [note for _, notes in each for note in notes]
    table, _, query = (text, "", "") if Path(text).exists() else text.partition("?")
    if Path(table).suffix.lower() == ".csv" and Path(table).is_file():
        return _listed(Path(table), dict(parse_qsl(query, keep_blank_values=True)))
    folder = Path(text)
    if not folder.is_dir():
        _expect_no_annotations(folder)
        return [text], []
    try:
        if is_frames(os.listdir(folder)):
            return [text], []
        passed = Passed(folder)
        found = [str(clip) for clip in _inside(folder, passed)]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None
    if not found:
        told = "; ".join(passed.sentences()) or "found none"
        raise DataError(
            f"{text} holds no clips: expected videos, folders of JPEG or PNG frames, or folders with such inside; "
            f"{told}"
        )
    return found, passed.sentences()


def _expect_no_annotations(path: Path) -> None:
    """Refuses a file of annotations, whose segments a table can list; by its content, but of no video."""
    if path.suffix.lower() in SUFFIXES or is_image(path.name) or not path.is_file():
        return
    from kshot.datasets.annotations import FORMATS, find

    if (found := find(path)) is not None:
        raise DataError(
            f"{path} is no video but annotations of some ({FORMATS[found[0]].title}): make a table of its segments "
            f"first, kshot data import {path} --out clips.csv, and name that"
        )


def _is_table(text: str) -> bool:
    """Whether this is a table with a choice of its rows, in which "?" is no pattern."""
    table = Path(text.partition("?")[0])
    return table.suffix.lower() == ".csv" and table.is_file()


def _matching(pattern: str) -> list[str]:
    """What matches a pattern, in natural order; nothing that lies in a folder which matches, too."""
    found = {Path(path) for path in glob.glob(os.path.expanduser(pattern), recursive=True)}
    if not found:
        raise DataError(f"no file matches {pattern}")
    tops = (path for path in found if not found & {*path.parents})
    return [str(path) for path in sorted(tops, key=lambda path: [natural(part) for part in path.parts])]


def _inside(folder: Path, passed: Passed) -> Iterator[Path]:
    """Videos and frame folders below a folder, in natural order."""
    folders, files = passed.children(folder)
    yield from (file for file in files if is_video(file.name))
    passed.files([file for file in files if not is_video(file.name)], "beside the clips")
    for child in folders:
        if is_frames(os.listdir(child)):
            yield child
        else:
            yield from _inside(child, passed)


def _listed(path: Path, where: dict[str, str]) -> tuple[list[str], list[str]]:
    """The clips of a table, whole videos and segments, a row each of those with the values of `where`."""
    sheet = read_sheet(path, ("path",))
    place = column(sheet.header, "path")
    for name in (place or "path", *where):
        if name not in sheet.header:
            near = next((each for each in sheet.header if each.lower() == name.lower()), "")
            hint = f"; write '{name}' in place of '{near}'" * bool(near)
            raise DataError(f"{path.name}: no column '{name}' in the header, found {', '.join(sheet.header)}{hint}")
    moments, found, empty = columns(path.name, sheet.header), list[str](), 0
    for line, row in sheet.rows():
        if all(row[name] == value for name, value in where.items()):
            if not row[str(place)]:
                empty += 1
                continue
            span = moments.read(row, f"{path.name}: line {line}")
            try:
                found.append(str(clip_of(local_path(path.parent, row[str(place)]), span)))
            except DataError as error:
                raise DataError(f"{path.name}: line {line}: {error}") from None
    if not found:
        raise DataError(f"{path.name} lists no clips" + (f" with {where}" if where else ""))
    nameless = [f"{empty} {'row' if empty == 1 else 'rows'} of {path.name} without a path passed over"] * bool(empty)
    return found, [*nameless, *empty_rows(path, sheet.empty)]
