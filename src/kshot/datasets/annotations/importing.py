"""`kshot data import`: files of annotations into one table of clips, or into another format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kshot.datasets.annotations import FORMATS, writable, write
from kshot.datasets.annotations.loading import Found, counted, gather, overlaps, relative
from kshot.errors import DataError, OptionError, unknown
from kshot.files import disk, plain, write_atomic


def import_files(
    files: Sequence[Path],
    out: Path,
    videos: Path | None = None,
    fps: float | None = None,
    format: str = "csv",
    allow_missing: bool = False,
) -> dict[str, Any]:
    """Writes the segments of files of annotations; paths of videos are as seen from the file that is written.

    Into a folder that is there, a file is written for each video and named as it is.

    Args:
        files: in any format of `kshot.datasets.annotations`.
        out: the file to write, or a folder.
        videos: a folder in which videos are looked for by name, or one video.
        fps: frames a second, for formats that count frames.
        format: of `out`.
        allow_missing: whether segments of videos that are missing are left out.

    Returns:
        out, format, files (as many as were written), formats (of those that were read), segments, videos, labels
        (label -> segments), counted (a phrase) and notes.

    Raises:
        DataError: a file cannot be used, or there is no segment.
        OptionError: unknown format, no folder for `out`, or what would be written is read.
        StoreError: `out` cannot be written.
    """
    if format not in writable():
        raise unknown("format", format, writable())
    if not out.is_dir() and not plain(out).parent.is_dir():
        raise OptionError(f"there is no folder for {out}: make it first, or name another")
    found = gather(files, videos, fps, "leave" if allow_missing else "refuse")
    parts = _parts(found, out, format) if out.is_dir() else {out: found}
    read = [one for one in (*files, *map(Path, found.films)) if one.exists()]
    for path in parts:
        if plain(path).exists() and any(path.samefile(one) for one in read):
            raise OptionError(f"--out {path} is one of the files to read: name another")
    if not found.segments:
        told = "; ".join(found.notes) or "there are none"
        raise DataError(f"{', '.join(map(str, files))}: no segment can be taken: {told}")
    written = {path: write(relative(part, path.parent), format) for path, part in parts.items()}
    contents = {path: _encoded(text, found.films) for path, (text, _) in written.items()}
    for path, content in contents.items():
        with disk(path):
            write_atomic(path, content)
    several = len(written) > 1
    lost = [f"{path.name}: {one}" if several else one for path, (_, told) in written.items() for one in told]
    return {
        "out": str(out),
        "format": format,
        "files": len(written),
        "formats": sorted(set(found.formats)),
        "segments": len(found.segments),
        "videos": len({one.path for one in found.segments}),
        "labels": dict(sorted(Counter(one.label for one in found.segments).items())),
        "counted": counted(found.segments),
        "notes": [*found.notes, *overlaps(found.segments), *lost],
    }


def _parts(found: Found, folder: Path, format: str) -> dict[Path, Found]:
    """File -> what stands in it, where each video has one, named as the video is."""
    parts: dict[Path, Found] = {}
    for video in dict.fromkeys(one.path for one in found.segments):
        path = folder / f"{Path(video).stem}{FORMATS[format].suffix}"
        if path in parts:
            raise OptionError(
                f"two videos would have their segments in {path} ({parts[path].segments[0].path} and {video}): import "
                "their annotations apart"
            )
        mine = [one for one in found.segments if one.path == video]
        parts[path] = replace(found, segments=mine, films={video: found.films[video]} if video in found.films else {})
    return parts


def _encoded(text: str, films: Iterable[str]) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        odd = [name for name in films if name != name.encode(errors="replace").decode()]
        what = "name of 1 film is" if len(odd) == 1 else f"names of {len(odd):,} films are"
        raise DataError(
            f"the {what} no UTF-8 text, so no file could say it: rename {odd[0]}{' and others' * (len(odd) > 1)} first"
        ) from None
